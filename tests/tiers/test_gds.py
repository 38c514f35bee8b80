"""Whether GPUDirect Storage is there: it is asked with care, and never on a host without a GPU."""

import subprocess
import sys

import pytest

from kvbm_events.schema.errors import InvalidCommand
from kvbm_kernels import CudaState, Gpu
from kvbm_tiers import Medium, preset
from kvbm_tiers.cuda import gds
from kvbm_tiers.openers import Wanted, open_store

H100 = Gpu(index=0, name="H100", capability=(9, 0), memory_bytes=80 << 30)
ON = CudaState(gpus=(H100,), driver=(13, 0))


def test_without_a_gpu_nobody_asks(tmp_path, monkeypatch):
    monkeypatch.setattr(gds.subprocess, "Popen", None)
    assert gds.gds_flaw(tmp_path, detect=lambda: CudaState(why="no driver")) == "CUDA is off: no driver"


@pytest.fixture
def probe(tmp_path, monkeypatch):
    """A probe that does what a line of Python does."""

    def make(line):
        (tmp_path / "stand_in_probe.py").write_text(line)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        return lambda patience_s=30.0: gds.gds_flaw(
            tmp_path, patience_s=patience_s, detect=lambda: ON, probe="stand_in_probe"
        )

    return make


def test_what_the_probe_says_is_why(probe):
    assert probe("print()")() == ""
    assert probe("print('no nvidia-fs')")() == "no nvidia-fs"


def test_a_probe_that_crashes_is_a_reason_and_no_more(probe):
    assert probe("import os; os._exit(139)")() == "the probe ended with 139"
    assert probe("raise ValueError('x')")() == "ValueError: x"


def test_a_probe_that_does_not_answer_is_ended(probe):
    assert "did not answer within 0.5 s" in probe("while True: pass")(0.5)


def test_the_probe_itself_asks_for_a_gpu_first(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", gds.PROBE, str(tmp_path), "99"],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
        env={**gds.os.environ, "PYTHONPATH": gds.os.pathsep.join(sys.path)},
    )
    assert "CUDA device 99 cannot be used" in done.stdout


def test_the_way_over_host_memory_is_forbidden_unless_the_user_wants_it(monkeypatch):
    monkeypatch.delenv("CUFILE_ALLOW_COMPAT_MODE", raising=False)
    gds.prepare_gds()
    assert gds.os.environ["CUFILE_ALLOW_COMPAT_MODE"] == "false"
    monkeypatch.setenv("CUFILE_ALLOW_COMPAT_MODE", "true")
    gds.prepare_gds()
    assert gds.os.environ["CUFILE_ALLOW_COMPAT_MODE"] == "true"


def wanted(tmp_path, options):
    medium = Medium.parse(f"slab:{tmp_path}{options}")
    return Wanted(tier="g3", medium=medium, capacity=2, layout=preset("tiny"), namespace="n", reset=False, instance="i")


@pytest.mark.parametrize(("options", "may"), [("", True), ("?gds=auto", True), ("?gds=no", False)])
def test_a_store_may_refuse_it(tmp_path, options, may):
    slab, _ = open_store(wanted(tmp_path, options))
    assert slab.may_gds == may
    if not may:
        assert gds.gds_flaw_of(None, slab) == "it was asked for, by gds=no"
    slab.close()


def test_an_option_that_is_none_is_refused_with_what_there_is(tmp_path):
    with pytest.raises(InvalidCommand, match="neither auto nor no"):
        open_store(wanted(tmp_path, "?gds=yes"))
    with pytest.raises(InvalidCommand, match="slab has no option dgs"):
        open_store(wanted(tmp_path, "?dgs=no"))
