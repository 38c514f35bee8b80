"""The benchmark of explaining does its work: on a small history it has a figure for each question."""

from bench_explain import run


def test_each_question_has_its_figures():
    pace, life, state = run(quick=True)
    assert pace["unit"] == "M block-events/s"
    assert "histories were read" in pace["against"]
    assert {life["unit"], state["unit"]} == {"ms"}
    assert all(0 < row["low"] <= row["value"] <= row["high"] and "aim" in row for row in (pace, life, state))
