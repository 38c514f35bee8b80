"""The answers as a picture: hit ratio over slots, a line a policy and admission, and the bound above them."""

from __future__ import annotations

import importlib
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kvbm_events.schema.errors import InvalidCommand
from kvbm_nats.whatif.compare import Answer

FORMATS = (".png", ".svg")


def draw(answers: Sequence[Answer], path: Path, title: str) -> None:
    """Write a PNG or SVG. The same answers give the same file.

    Raises:
        InvalidCommand: the name has another ending, the file cannot be written, or matplotlib is not installed.
    """
    if path.suffix not in FORMATS:
        raise InvalidCommand(f"picture {path}", why="its ending says neither PNG nor SVG", hint=" or ".join(FORMATS))
    try:
        matplotlib: Any = importlib.import_module("matplotlib")
        figures: Any = importlib.import_module("matplotlib.figure")
    except ImportError as error:
        raise InvalidCommand(
            "no picture without matplotlib", why=str(error), hint="pip install 'kvbm-nats[plot]'"
        ) from error
    matplotlib.rcParams["svg.hashsalt"] = "kvbm"
    figure = figures.Figure(figsize=(9, 5), layout="constrained")
    axes = figure.add_subplot()
    for name, points in _lines(answers).items():
        axes.plot(*zip(*points, strict=True), marker="o", label=name)
    bound = sorted({(_slots(each), 100 * each.bound / max(1, each.asked)) for each in answers})
    axes.plot(*zip(*bound, strict=True), marker=".", linestyle="--", color="gray", label="possible (Belady)")
    axes.set(xlabel="slots in all tiers", ylabel="hits of blocks asked for, %", title=title, ylim=(0, None))
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    try:
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else {"Software": None})
    except OSError as error:
        raise InvalidCommand(f"picture {path}", why=error.strerror or str(error)) from error


def _lines(answers: Sequence[Answer]) -> dict[str, list[tuple[int, float]]]:
    """By policies and admissions, the points from few slots to many."""
    lines: defaultdict[str, list[tuple[int, float]]] = defaultdict(list)
    for answer in answers:
        policies = dict.fromkeys(spec.policy for spec in answer.case.tiers)
        admissions = dict.fromkeys(spec.admission for spec in answer.case.tiers[1:])
        lines[" ".join((*policies, *admissions))].append((_slots(answer), 100 * answer.hits / max(1, answer.asked)))
    return {name: sorted(points) for name, points in lines.items()}


def _slots(answer: Answer) -> int:
    return sum(spec.capacity for spec in answer.case.tiers)
