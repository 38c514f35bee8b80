"""The GPU that tests use: a real one, or in a process that asks for it a fake driver over host memory."""

from __future__ import annotations

from functools import cache

import pytest

from kvbm_kernels.detect import detect_cuda
from kvbm_kernels.driver import Driver
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
