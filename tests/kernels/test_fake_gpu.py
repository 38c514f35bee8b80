"""Every test that needs a GPU, over a fake driver: the bindings, the driver's module and all above them are the real ones."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kvbm_kernels.errors import CompilerUnavailable
from kvbm_kernels.host import find_compiler
from support.fake_cuda import FAKE_ENV

SUITE = [str(Path(__file__).parents[1] / folder) for folder in ("gpu", "tiers")]


@pytest.mark.skipif(FAKE_ENV in os.environ, reason="this is that process")
def test_the_gpu_suite_passes_over_a_fake_driver():
    try:
        find_compiler()
    except CompilerUnavailable as error:
        pytest.skip(f"NOT TESTED: CUDA over a fake driver; {error}")
    if importlib.util.find_spec("cuda") is None or importlib.util.find_spec("cuda.bindings") is None:
        pytest.skip("NOT TESTED: CUDA over a fake driver; the CUDA bindings are not installed")
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-m", "gpu", "-p", "no:cacheprovider", *SUITE]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, env=os.environ | {FAKE_ENV: "1"}, timeout=170
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed
    assert int(passed[1]) >= 120
    assert "NOT TESTED on a GPU" not in done.stdout
