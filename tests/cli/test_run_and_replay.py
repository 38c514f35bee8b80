"""`kvbm trace run` and `kvbm replay` on a real server: what they print, and their exit codes."""

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from functools import partial

import msgspec
import pytest

from kvbm_nats.nats_server import NatsServer
from kvbm_statemachine import digest_of, from_bytes, to_bytes

REQUESTS = 30


def kvbm(*arguments, url, instance):
    return subprocess.run(
        [sys.executable, "-m", "kvbm_nats.cli", *arguments, "--nats-url", url, "--instance", instance],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    file = tmp_path_factory.mktemp("trace") / "made.jsonl"
    command = [sys.executable, "-m", "kvbm_nats.cli", "trace", "make", str(file), "--requests", str(REQUESTS)]
    subprocess.run(command, check=True)
    return file


def run(trace, url, instance, *more):
    return kvbm("trace", "run", str(trace), "--block-tokens", "64", *more, url=url, instance=instance)


def test_a_run_reports_and_its_log_verifies(trace, nats_url, instance):
    ran = run(trace, nats_url, instance, "--tiers", "g1=20000,g2=40000", "--json")
    assert ran.returncode == 0, ran.stderr
    report = json.loads(ran.stdout)
    assert report["requests"] == REQUESTS
    assert report["hit_ratio"] == pytest.approx(report["infinite_hit_ratio"])
    assert report["asked"] == sum(report["found"].values()) + report["computed"]
    assert report["events"]["Matched"] == REQUESTS
    assert report["integrity"] == []
    replayed = kvbm("replay", "--verify", "--json", url=nats_url, instance=instance)
    assert replayed.returncode == 0, replayed.stderr
    verdict = json.loads(replayed.stdout)
    assert verdict["equal"]
    assert verdict["digest"] == report["digest"]
    assert verdict["events"] == sum(report["events"].values()) + 1


def test_a_run_goes_on_where_another_ended(trace, nats_url, instance, tmp_path):
    plan = ["--tiers", "g1=2000,g2=20000", "--folder", str(tmp_path)]
    assert run(trace, nats_url, instance, "--requests", "20", *plan).returncode == 0
    again = run(trace, nats_url, instance, *plan, "--json")
    assert again.returncode == 0, again.stderr
    report = json.loads(again.stdout)
    assert report["epoch"] == 2
    assert report["hit_ratio"] > report["infinite_hit_ratio"], "what the first run left is found"
    assert report["verified"] > 0


def test_without_a_folder_nothing_is_left_to_find(trace, nats_url, instance):
    for epoch in (1, 2):
        ran = run(trace, nats_url, instance, "--tiers", "g1=20000,g2=20000", "--json")
        assert ran.returncode == 0, ran.stderr
        report = json.loads(ran.stdout)
        assert (report["epoch"], report["hit_ratio"]) == (epoch, pytest.approx(report["infinite_hit_ratio"]))


def test_bytes_that_changed_on_disk_are_computed_again_and_never_loaded(trace, nats_url, instance, tmp_path):
    plan = ["--tiers", "g1=1000,g2=1000,g3=20000", "--folder", str(tmp_path), "--json"]
    first = run(trace, nats_url, instance, *plan)
    assert first.returncode == 0, first.stderr
    report = json.loads(first.stdout)
    assert report["verified"] == sum(each["blocks"] for path, each in report["traffic"].items() if path.endswith("-g1"))
    slab = bytearray((tmp_path / "g3.slab").read_bytes())
    for at in range(0, len(slab), 16384):
        slab[at] ^= 0xFF
    (tmp_path / "g3.slab").write_bytes(slab)
    second = run(trace, nats_url, instance, *plan)
    assert second.returncode == 0, second.stdout
    report = json.loads(second.stdout)
    assert report["traffic"]["g3-g1"]["failed"] > 0
    assert report["integrity"] == []
    assert report["hit_ratio"] < 1
    corrupt = [line for line in log_lines(nats_url, instance, tmp_path) if '"reason":"corrupt"' in line]
    assert {json.loads(line)["event"]["type"] for line in corrupt} == {"Evicted", "OnboardFailed"}


def log_lines(nats_url, instance, folder):
    file = folder / "events.jsonl"
    exported = kvbm("replay", "--verify", "--export", str(file), url=nats_url, instance=instance)
    assert exported.returncode == 0, exported.stdout
    return file.read_text().splitlines()


def test_people_get_tables(trace, nats_url, instance):
    ran = run(trace, nats_url, instance, "--tiers", "g1=2000")
    assert ran.returncode == 0, ran.stderr
    for words in ("infinite cache", f"{REQUESTS} requests", "integrity: 0 errors", "evicted: "):
        assert words in ran.stdout
    replayed = kvbm("replay", "--verify", url=nats_url, instance=instance)
    assert "equal: 1 compared" in replayed.stdout


def test_a_log_in_memory_needs_no_server(trace, instance):
    ran = run(trace, "nats://127.0.0.1:1", instance, "--via", "memory", "--tiers", "g1=500,g2=3000", "--json")
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["integrity"] == []


def test_replay_writes_a_projection_and_an_export(trace, nats_server, instance, tmp_path):
    assert run(trace, nats_server.url, instance, "--requests", "10", "--tiers", "g1=9000").returncode == 0
    copied = kvbm(
        *("replay", "--into", f"sqlite:///{tmp_path}/p.db", "--export", str(tmp_path / "events.jsonl")),
        url=nats_server.url,
        instance=instance,
    )
    assert copied.returncode == 0, copied.stderr
    assert (tmp_path / "p.db").exists()
    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    assert json.loads(lines[0])["event"]["type"] == "Opened"


def test_a_projection_is_compared_with_the_log(trace, nats_server, instance, tmp_path):
    assert run(trace, nats_server.url, instance, "--requests", "10", "--tiers", "g1=9000").returncode == 0
    file = tmp_path / "p.db"
    project = partial(kvbm, "project", "--into", str(file), url=nats_server.url, instance=instance)
    assert project("--once").returncode == 0
    same = project("--verify")
    assert (same.returncode, same.stderr) == (0, "")
    assert "equal: the tables are what the log says" in same.stdout
    with closing(sqlite3.connect(file)) as db, db:
        db.execute("update tier set free = free - 1")
    differs = project("--verify")
    assert differs.returncode == 1, differs.stderr
    assert f"differs: {instance}: tier g1: the table has" in differs.stdout


def test_an_instance_without_events_is_trouble(nats_url, instance):
    nothing = kvbm("replay", url=nats_url, instance=instance)
    assert nothing.returncode == 2
    assert "has no events" in nothing.stderr


async def test_a_snapshot_that_differs_is_exit_code_1_with_the_place(trace, jetstream_log, nats_url, instance):
    assert run(trace, nats_url, instance, "--requests", "3", "--tiers", "g1=9000").returncode == 0
    snapshot = await jetstream_log.load_snapshot(instance)
    state = from_bytes(snapshot.state)
    state.namespace = "another"
    data = to_bytes(state)
    await jetstream_log.save_snapshot(msgspec.structs.replace(snapshot, state=data, digest=digest_of(data)))
    differs = kvbm("replay", "--verify", url=nats_url, instance=instance)
    assert differs.returncode == 1, differs.stderr
    assert "state.namespace" in differs.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--until", "soon"), "is no moment"),
        (("--speed", "-1"), "time goes forward"),
        (("--export", "/nonexistent/x.jsonl"), "is no folder"),
    ],
)
def test_trouble_is_exit_code_2_and_says_what(trace, nats_url, instance, arguments, said):
    assert run(trace, nats_url, instance, "--requests", "2", "--tiers", "g1=9000").returncode == 0
    refused = kvbm("replay", *arguments, url=nats_url, instance=instance)
    assert refused.returncode == 2
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr


def test_no_server_is_said_with_what_to_do(instance, tmp_path):
    with NatsServer(tmp_path / "gone") as server:
        url = server.url
    refused = kvbm("replay", url=url, instance=instance)
    assert refused.returncode == 2
    assert "kvbm dev" in refused.stderr


def test_a_run_down_to_object_storage_reads_again_what_it_wrote(trace, nats_url, instance, s3, tmp_path):
    plan = ["--tiers", "g1=400,g2=800,g3=1600,g4=20000", f"--store=g4={s3.url('cache')}", "--folder", str(tmp_path)]
    ran = run(trace, nats_url, instance, "--requests", "20", *plan, "--json")
    assert ran.returncode == 0, ran.stderr
    report = json.loads(ran.stdout)
    assert report["traffic"]["g3-g4"]["blocks"] > 0
    assert report["integrity"] == []
    again = run(trace, nats_url, instance, *plan, "--json")
    assert again.returncode == 0, again.stderr
    found = json.loads(again.stdout)
    assert found["found"]["g4"] > 0, "what is in objects only is found by the next run"
    assert found["traffic"]["g4-g1"]["blocks"] > 0
    assert found["verified"] > 0
    assert found["integrity"] == []
