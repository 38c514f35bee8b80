"""The GPU that tests use: a real one, or in a process that asks for it a fake driver over host memory."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from kvbm_kernels.detect import detect_cuda
from kvbm_kernels.driver import Driver
from kvbm_tiers.cuda import GDS, Plugin, gds_flaw
from support.fake_cuda import FakeCuda, load


@cache
def _driver() -> Driver | str:
    load()
    state = detect_cuda()
    return Driver() if state.is_on else state.why


def gpu_driver() -> Driver:
    """The device; the test is skipped where there is none."""
    found = _driver()
    if isinstance(found, str):
        pytest.skip(f"NOT TESTED on a GPU: {found}")
    return found


def fake_cuda() -> FakeCuda:
    """The fake driver; the test is skipped on a real one, which cannot be told to fail."""
    found = load()
    if found is None:
        pytest.skip("tested over the fake driver only: a fault is injected")
    return found


STAND_IN = Plugin("POSIX", "DRAM", {"use_aio": "true"})
"""What takes the place of GPUDirect Storage where a device's memory is host memory."""


def gds_plugin(kind: str, folder: Path) -> Plugin:
    """The plug-in of a kind of mover, `gds posix` or `gds vram`; the test is skipped where it is the other one's turn."""
    if "posix" in kind:
        fake_cuda()
        return STAND_IN
    if load():
        pytest.skip("tested with a real GPU only: the POSIX plug-in stands in for GDS over the fake driver")
    if flaw := gds_flaw(folder):
        pytest.skip(f"NOT TESTED: GPUDirect Storage; {flaw}")
    return GDS
