"""Tests that need NIXL, which the README's install leaves out: they are marked `nixl`, and skipped loudly without it."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec

import pytest


def skip_without_nixl(item: pytest.Item) -> None:
    """Skip a test that is marked `nixl` where NIXL is not installed."""
    if item.get_closest_marker("nixl") and find_spec("nixl_cu12") is None:
        pytest.skip("NOT TESTED: NIXL is not installed (docs/nixl.md)")


def by_nixl(kind: str) -> bool:
    """Whether a mover of this kind needs NIXL: `nixl aio`, `ucx g1-g3`, `gds posix`."""
    return kind.startswith(("nixl", "ucx", "gds"))


def marked(kinds: Iterable[str]) -> list[object]:
    """Kinds of movers as parameters of a test, with the mark where they need NIXL."""
    return [pytest.param(kind, marks=pytest.mark.nixl) if by_nixl(kind) else kind for kind in kinds]
