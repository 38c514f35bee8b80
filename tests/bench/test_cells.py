"""How a benchmark's rows are shown, on a terminal and in Markdown."""

from harness import cells_of, make_row, note_row
from markdown import as_markdown

ROWS = [
    make_row("move", "GB/s", [1.0, 2.0, 3.0], theirs=[1.0, 1.0, 2.0], against="bare", aim=1.0, more_is_better=True),
    make_row("move", "GB/s", [1.0, 2.0, 3.0], theirs=[4.0, 4.0, 4.0], against="other", aim=0.9, more_is_better=True),
    make_row("think", "ns", [1500.0], against="not measured"),
]


def test_what_is_held_against_two_is_told_once():
    first, second, third = cells_of(ROWS)
    assert first == ("move", "2 GB/s", "1 … 3", "1.5", "≥ 1 met", "bare: 1 GB/s", True)
    assert second == ("", "", "", "0.5", "≥ 0.9 missed", "other: 4 GB/s", False)
    assert third == ("think", "1,500 ns", "1,500 … 1,500", "", "", "not measured", None)


def test_what_was_not_measured_has_a_line_without_a_figure():
    (cells,) = cells_of([note_row("LMCache not measured: it is not installed")])
    assert cells == ("LMCache not measured: it is not installed", "", "", "", "", "", None)


def test_a_missed_aim_stands_out_in_markdown():
    lines = as_markdown({"cpu": "c"}, {"tiers": ROWS}, "python -m bench").splitlines()
    assert "|  |  |  | 0.5 | ≥ 0.9 **missed** | other: 4 GB/s |" in lines
    assert "* cpu: c" in lines
