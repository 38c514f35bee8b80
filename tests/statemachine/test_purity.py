"""No clock, no I/O, no chance: what the modules may import and call, and the same history in differently seeded processes."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import kvbm_statemachine
from kvbm_statemachine import POLICIES
from support.history import PLANS

PACKAGE = Path(kvbm_statemachine.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
IMPORTABLE = {
    "__future__", "abc", "collections", "collections.abc", "enum", "functools", "hashlib", "heapq", "itertools",
    "msgspec", "re", "struct", "typing",
}  # fmt: skip
OURS = ("kvbm_events.schema", "kvbm_statemachine")
FORBIDDEN_CALLS = {
    "open", "input", "print", "breakpoint",  # I/O
    "hash", "id",  # differ from process to process
    "eval", "exec", "compile", "__import__", "globals", "setattr",  # ways around this test
}  # fmt: skip
MAY_PRINT = PACKAGE / "diagram.py"


def named(path):
    return str(path.relative_to(PACKAGE))


def nodes(path, *kinds):
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, kinds)]


def is_set(node):
    """Whether an expression is a set as far as one can see."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr | ast.BitAnd | ast.Sub | ast.BitXor):
        return is_set(node.left) or is_set(node.right)
    called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"set", "frozenset"}
    return called or isinstance(node, ast.Set | ast.SetComp)


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_a_module_imports_nothing_that_could_tell_it_the_time_or_the_weather(path):
    imported = {node.module for node in nodes(path, ast.ImportFrom)}
    imported |= {alias.name for node in nodes(path, ast.Import) for alias in node.names}
    strange = {name for name in imported - IMPORTABLE if not f"{name}.".startswith(tuple(f"{own}." for own in OURS))}
    assert not strange


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_a_module_calls_nothing_that_differs_from_process_to_process(path):
    called = {node.func.id for node in nodes(path, ast.Call) if isinstance(node.func, ast.Name)}
    assert called & FORBIDDEN_CALLS == ({"print"} if path == MAY_PRINT else set())


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_a_module_does_not_walk_through_a_set(path):
    walked = [node.iter for node in nodes(path, ast.For, ast.comprehension)]
    assert not [ast.unparse(node) for node in walked if is_set(node)]


def test_a_module_keeps_nothing_between_calls():
    """A module's own values are constants: nothing is assigned by `global`."""
    assert not [named(path) for path in MODULES if nodes(path, ast.Global)]


HISTORY = """
from hashlib import blake2b
from kvbm_events.codec import encode
from kvbm_statemachine import POLICIES, digest
from support.history import PLANS
from support.seeded_history import seeded_history

for plan in PLANS:
    for seed, policy in enumerate(POLICIES):
        history = seeded_history(policy, plan, seed, 200)
        events = b"".join(map(encode, history.events))
        print(plan, policy, digest(history.state), blake2b(events).hexdigest())
"""


def told_by_a_process(hash_seed):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": hash_seed}
    command = [sys.executable, "-c", HISTORY]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def test_a_history_is_the_same_whatever_the_process_hashes_by():
    told = told_by_a_process("1")
    assert len(told.splitlines()) == len(PLANS) * len(POLICIES)
    assert told_by_a_process("2") == told
