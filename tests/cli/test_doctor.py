"""`kvbm doctor`: fit, worse than it should be, or broken; and always what to do."""

import asyncio
import json
import re
import shutil
import subprocess
import sys
import threading
from typing import NamedTuple

import pytest

from kvbm_events.jetstream import JetStreamLog, Options
from kvbm_events.schema.errors import KvbmError, LogUnavailable
from kvbm_kernels import CudaState, Gpu
from kvbm_nats import doctor
from kvbm_nats.doctor import Finding, accelerators, machine
from kvbm_nats.nats_server import NatsServer

H100 = Gpu(index=0, name="H100", capability=(9, 0), memory_bytes=80 << 30)


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def kvbm_doctor(*arguments):
    command = [sys.executable, "-m", "kvbm_nats.cli", "doctor", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)


def by_name(findings):
    return {finding.name: finding for finding in findings}


def finding(state):
    return Finding(name=state, state=state, what="x", hint="y")


def test_a_fit_machine_with_a_server_that_syncs_is_told_so(nats_server, tmp_path):
    ran = kvbm_doctor(
        *("--nats-url", nats_server.url, "--monitor-url", nats_server.monitor_url, "--folder", str(tmp_path), "--json")
    )
    answer = json.loads(ran.stdout)
    found = {each["name"]: each for each in answer["findings"]}
    assert found.keys() >= {"cuda", "cpu kernel", "nixl", "jetstream", "log", "disk", "shared memory", "clock"}
    assert found["jetstream"]["state"] == found["log"]["state"] == "ok"
    assert re.match(r"nats-server \d+\.\d+\.\d+, ", found["jetstream"]["what"])
    assert ran.returncode == (0 if answer["state"] in {"ok", "note"} else 1)
    assert all(each["hint"] for each in found.values() if each["state"] != "ok")


def test_without_a_server_it_ends_with_2_and_names_what_is_broken(tmp_path):
    ran = kvbm_doctor("--nats-url", "nats://127.0.0.1:1", "--folder", str(tmp_path))
    assert ran.returncode == 2
    assert "broken  jetstream" in ran.stdout
    assert ran.stderr.startswith("kvbm: kvbm cannot work here\n  broken: jetstream\n"), "one error, and ours"
    assert "Try: start one" in ran.stdout


async def test_the_server_is_asked_and_left_as_it_was(nats_server):
    found = await doctor_of(nats_server)
    assert found["log"].what.startswith("there is none yet")
    log = await JetStreamLog.connect(nats_server.url, Options(sync_always=True))
    await log.close()
    found = await doctor_of(nats_server)
    assert found["log"].what.startswith("0 events")
    assert found["server clock"].state == "ok"


async def doctor_of(server, **more):
    """In a thread: the check runs a loop of its own."""
    monitor_url = more.get("monitor_url", server.monitor_url)
    return by_name(await asyncio.to_thread(doctor.check_jetstream, server.url, monitor_url))


async def test_a_server_that_does_not_sync_is_poor_and_one_that_nobody_knows_of_is_a_note(tmp_path):
    with NatsServer(tmp_path / "weak", monitor=True, sync_interval="2m") as server:
        log = await JetStreamLog.connect(server.url, Options(sync_always=False))
        await log.close()
        found = await doctor_of(server)
        assert found["log"].state == "poor"
        assert "sync_interval: always" in found["log"].hint
        assert (await doctor_of(server, monitor_url=""))["log"].state == "note"


def test_a_server_that_is_not_there_is_an_error_by_name():
    with pytest.raises(LogUnavailable):
        doctor.check_jetstream("nats://127.0.0.1:1")


def test_cuda_that_is_off_is_a_note_without_a_gpu_and_poor_with_one(tmp_path):
    off = CudaState(why="there is no NVIDIA driver", hint="install the driver")
    (found,) = doctor.check_cuda(lambda: off, tmp_path / "nvidiactl")
    assert (found.state, found.hint) == ("note", "install the driver")
    (tmp_path / "nvidiactl").touch()
    assert doctor.check_cuda(lambda: off, tmp_path / "nvidiactl")[0].state == "poor"
    too_new = CudaState(gpus=(H100,), driver=(12, 8), why="NVRTC is newer", hint="upgrade the driver")
    assert doctor.check_cuda(lambda: too_new, tmp_path / "none")[0].state == "poor"


def test_cuda_that_is_on_is_told_with_its_devices():
    (found,) = doctor.check_cuda(lambda: CudaState(gpus=(H100,), driver=(13, 0)))
    assert found.state == "ok"
    assert found.what == "H100 (80 GiB, sm_90); driver of CUDA 13.0"


def test_gds_is_asked_for_only_where_there_is_a_gpu(monkeypatch):
    commands = []

    def run(command, **_more):
        commands.append(command)
        return subprocess.CompletedProcess(command, 0, '{"version":"1","usable":["POSIX"],"unusable":[]}', "")

    monkeypatch.setattr(accelerators.subprocess, "run", run)
    doctor.check_nixl(lambda: CudaState(why="no driver"))
    doctor.check_nixl(lambda: CudaState(gpus=(H100,), driver=(13, 0)))
    assert ["gds" in command for command in commands] == [False, True]


@pytest.mark.parametrize(
    ("code", "stderr", "state"),
    [
        (1, "ModuleNotFoundError: No module named 'nixl_cu12'", "note"),
        (1, "RuntimeError: x", "poor"),
        (-11, "", "poor"),
    ],
)
def test_nixl_that_is_not_there_is_a_note_and_nixl_that_fails_is_poor(monkeypatch, code, stderr, state):
    done = subprocess.CompletedProcess([], code, "", stderr)
    monkeypatch.setattr(accelerators.subprocess, "run", lambda *_, **__: done)
    (found,) = doctor.check_nixl(lambda: CudaState(why="no driver"))
    assert found.state == state
    assert found.hint


def test_nixl_that_hangs_is_poor(monkeypatch):
    def hang(command, timeout, **_more):
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(accelerators.subprocess, "run", hang)
    assert doctor.check_nixl(lambda: CudaState(why="no driver"))[0].state == "poor"


def test_gds_that_is_off_is_a_note_with_why(tmp_path):
    asked = []
    (found,) = doctor.check_gds(tmp_path / "not" / "yet", lambda folder: asked.append(folder) or "no nvidia-fs")
    assert asked == [tmp_path]
    assert (found.state, found.what) == ("note", "off: no nvidia-fs")
    assert "over host memory" in found.hint
    (found,) = doctor.check_gds(tmp_path, lambda _folder: "")
    assert found.state == "ok"


def test_a_disk_is_told_with_its_room_and_nothing_stays_on_it(tmp_path):
    (found,) = doctor.check_disk(tmp_path / "not" / "yet")
    assert "GiB free" in found.what
    assert found.state in {"ok", "poor"}
    assert not list(tmp_path.iterdir())


def test_a_disk_without_direct_io_is_poor(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "_writes_direct", lambda _folder: False)
    (found,) = doctor.check_disk(tmp_path)
    assert found.state == "poor"
    assert "ext4 or xfs" in found.hint


def test_little_room_is_poor(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _place: Usage(2 << 30, 2 << 30, 5))
    assert doctor.check_disk(tmp_path)[0].state == "poor"
    (found,) = doctor.check_shared_memory(tmp_path)
    assert found.state == "poor"
    assert "--shm-size" in found.hint


def test_a_disk_that_is_read_only_is_broken(monkeypatch, tmp_path):
    def refuse(_folder):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(machine, "_writes_direct", refuse)
    (found,) = doctor.check_disk(tmp_path)
    assert found.state == "broken"
    assert "Read-only" in found.what


def test_shared_memory_that_is_not_mounted_is_poor(tmp_path):
    assert doctor.check_shared_memory(tmp_path / "none")[0].state == "poor"


def test_the_clock_is_told():
    (found,) = doctor.check_clock()
    assert found.state in {"ok", "note", "poor"}
    assert found.state == "ok" or found.hint


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KvbmError("it broke", why="by itself", hint="mend it"), "it broke: by itself"),
        (ZeroDivisionError("1/0"), "1/0"),
    ],
)
def test_a_check_that_fails_is_a_finding_and_the_others_go_on(error, said):
    def fail():
        raise error

    findings = doctor.examine({"bad": fail, "good": lambda: [finding("ok")]}, 10)
    assert [each.state for each in findings] == ["broken", "ok"]
    assert said in findings[0].what
    assert findings[0].hint


def test_a_check_that_hangs_is_a_finding():
    over = threading.Event()
    findings = doctor.examine({"slow": lambda: over.wait() and []}, 0.05)
    over.set()
    assert findings[0].what == "no answer within 0.05 s"


@pytest.mark.parametrize(
    ("states", "state"),
    [([], "ok"), (["ok", "note"], "note"), (["poor", "note"], "poor"), (["poor", "broken"], "broken")],
)
def test_the_whole_is_as_its_worst_part(states, state):
    assert doctor.worst(map(finding, states)) == state
