"""The real command, started as a process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

KVBM = Path(sys.executable).with_name("kvbm")
PLAIN = {name: value for name, value in os.environ.items() if name not in {"FORCE_COLOR", "NO_COLOR", "COLUMNS"}}

Kvbm = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def kvbm(tmp_path) -> Kvbm:
    """Run `kvbm ARGUMENTS…` in an empty folder and return its exit code and both outputs."""
    assert KVBM.exists(), "install the package: its command is what is tested"

    def run(*arguments: object, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [KVBM, *map(str, arguments)],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=tmp_path,
            env={**PLAIN, **environment},
        )

    return run
