"""Where two states differ: the first place, named, with what stands there on either side."""

from __future__ import annotations

import msgspec

from kvbm_statemachine.snapshot import dump
from kvbm_statemachine.state import State

_SHOWN = 80


def first_difference(left: State, right: State) -> str:
    """`path: left value ≠ right value` of the first difference; empty if the states are equal."""
    return _differ("state", msgspec.to_builtins(dump(left)), msgspec.to_builtins(dump(right)))


def _differ(path: str, left: object, right: object) -> str:
    if left == right:
        return ""
    if isinstance(left, dict) and isinstance(right, dict):
        for key in {**left, **right}:
            if key not in left or key not in right:
                return f"{path}.{key}: only on the {'right' if key in right else 'left'}"
            if found := _differ(f"{path}.{key}", left[key], right[key]):
                return found
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        for at, (one, other) in enumerate(zip(left, right, strict=False)):
            if found := _differ(f"{path}[{at}]", one, other):
                return found
        return f"{path}: {len(left)} ≠ {len(right)} entries"
    return f"{path}: {_short(left)} ≠ {_short(right)}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
