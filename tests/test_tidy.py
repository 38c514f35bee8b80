"""The code's own shape: where files may stand, and how large they and their functions may grow."""

import ast
import re
import statistics
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = {
    "kvbm": "kvbm_nats",
    "events": "kvbm_events",
    "statemachine": "kvbm_statemachine",
    "tiers": "kvbm_tiers",
    "kernels": "kvbm_kernels",
}
SOURCES = sorted(path for room, package in ROOMS.items() for path in (ROOT / room / package).rglob("*.py"))
OURS = sorted({*SOURCES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "bench").rglob("*.py")})
FILE_LINES_MAX = 400
FILE_LINES_MEDIAN = 150
FUNCTION_LINES_MAX = 60


def named(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_holds_a_readme_and_one_package(room):
    assert (ROOT / room / "README.md").is_file()
    assert not list((ROOT / room).glob("*.py")), "a room is on sys.path: its root must have no module"
    packages = [path.parent.name for path in (ROOT / room).glob("*/__init__.py")]
    assert packages == [ROOMS[room]]
    assert (ROOT / room / ROOMS[room] / "py.typed").is_file()


@pytest.mark.parametrize("path", OURS, ids=named)
def test_a_file_is_small(path):
    assert len(path.read_text().splitlines()) <= FILE_LINES_MAX


def test_the_median_file_is_small():
    assert statistics.median(len(path.read_text().splitlines()) for path in SOURCES) < FILE_LINES_MEDIAN


@pytest.mark.parametrize("path", OURS, ids=named)
def test_a_function_can_be_seen_whole(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = node.end_lineno - node.lineno + 1
            assert lines <= FUNCTION_LINES_MAX, f"{node.name} has {lines} lines"


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_a_module_says_what_it_holds(path):
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize("path", OURS, ids=named)
def test_an_ignore_has_its_reason_beside_it(path):
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if re.search(r"#\s*noqa|#\s*type:\s*ignore|#\s*pyright:\s*ignore", line) and "re.search" not in line:
            assert re.search(r"(noqa: [A-Z0-9, ]+ - \S|ignore\[[^]]+\] # \S)", line), f"line {number}"


def test_nothing_is_left_to_do_without_an_owner():
    for path in OURS:
        if path != Path(__file__):
            assert not re.search(r"\b(TODO|FIXME|XXX)\b", path.read_text()), named(path)
