"""Where the real traces are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

BESIDE_THE_CHECKOUT = Path(__file__).parents[3] / "shared" / "traces"


@pytest.fixture(scope="session")
def real_traces() -> Path:
    folder = Path(os.environ.get("KVBM_TRACES") or BESIDE_THE_CHECKOUT)
    if not folder.is_dir():
        pytest.skip(f"THE REAL TRACES ARE NOT READ: there is no {folder}; set KVBM_TRACES to their folder")
    return folder
