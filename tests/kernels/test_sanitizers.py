"""The tests of the kernel once more, with every address and every shift watched."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kvbm_kernels.errors import CompilerUnavailable, KernelUnavailable
from kvbm_kernels.host import FLAGS, compile_for_cpu, find_compiler
from support.kernels import SANITIZE_ENV, SANITIZERS

TESTS = Path(__file__).parents[1]
WATCHED = ["kernels/test_block_copy.py", "kernels/test_block_hash.py", "tiers/test_geometry.py"]


def runtime(name):
    """The sanitizer's library, which must be there before Python is."""
    try:
        compiler = find_compiler()
    except CompilerUnavailable as error:
        pytest.skip(f"NOT TESTED: sanitizers; {error}")
    found = subprocess.run([compiler, f"-print-file-name={name}"], check=True, capture_output=True, text=True)
    path = Path(found.stdout.strip())
    if not path.is_file():
        pytest.skip(f"NOT TESTED: sanitizers; {compiler} has no {name}")
    return str(path)


def run_watched(*arguments):
    libraries = [runtime("libasan.so"), runtime("libstdc++.so")]
    try:
        compile_for_cpu((*FLAGS, *SANITIZERS))  # the compiler must not be watched itself
    except KernelUnavailable as error:
        pytest.skip(f"NOT TESTED: sanitizers; {error}")
    env = os.environ | {
        "LD_PRELOAD": " ".join(libraries),
        "ASAN_OPTIONS": "detect_leaks=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYTHONMALLOC": "malloc",
        SANITIZE_ENV: "1",
    }
    return subprocess.run(
        [sys.executable, *arguments], check=False, capture_output=True, text=True, env=env, timeout=170
    )


def test_the_kernel_touches_no_byte_outside_and_does_nothing_undefined():
    files = [str(TESTS / file) for file in WATCHED]
    done = run_watched("-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *files)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


def test_a_byte_outside_would_be_found():
    code = """
import sys; sys.path[:0] = sys.argv[1:]
import numpy as np
from kvbm_kernels import Box, BoxTable
from support.kernels import cpu_kernel
pool, packed = np.zeros(64, np.uint8), np.zeros(63, np.uint8)
cpu_kernel().copy_blocks(BoxTable([Box(pool.ctypes.data, 64, 0, 1, 64)]), [packed.ctypes.data], [0], to_pool=False)
"""
    done = run_watched("-c", code, str(TESTS), *(path for path in sys.path if path))
    assert done.returncode
    assert "heap-buffer-overflow" in done.stderr
