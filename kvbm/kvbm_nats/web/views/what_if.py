"""`/i/INSTANCE/what-if`: a form for policies and capacities, and what other plans would have found."""

from __future__ import annotations

import re
from collections import defaultdict

import msgspec
from msgspec import Raw, Struct

from kvbm_events.schema import TIERS, TierName, TierSpec
from kvbm_nats.web.drawing import draw_curves
from kvbm_nats.web.problems import Problem
from kvbm_nats.web.view import Ask, View
from kvbm_statemachine import POLICIES

WORDS_MAX = 200
ADMISSIONS = ("write_through", "selective/2", "on_evict")
SIZES = "0.5x,2x,4x"
PAGE_S = 180.0
"""For waiting for one's turn, and for playing; both have limits of their own."""
_WORD = re.compile(r"[A-Za-z0-9_,./=-]*")


class _Case(Struct, frozen=True):
    tiers: list[TierSpec]


class World(Struct, frozen=True):
    """What the page shows of a world of the command's answer."""

    name: str
    case: _Case
    asked: int
    found: dict[TierName, int]
    moved: dict[str, int]
    evicted: dict[TierName, int]
    bound: int
    hits: int
    moved_bytes: int

    @property
    def slots(self) -> int:
        """In all tiers."""
        return sum(spec.capacity for spec in self.case.tiers)

    @property
    def line(self) -> str:
        """The line of the picture that it is a point of."""
        policies = dict.fromkeys(spec.policy for spec in self.case.tiers)
        below = {
            f"{spec.admission}/{spec.seen_min}" if spec.admission == "selective" else spec.admission: 0
            for spec in self.case.tiers[1:]
        }
        return ", ".join((*policies, *below))


class Worlds(Struct, frozen=True):
    """The command's answer."""

    recorded_found: int
    unnamed: int
    block_bytes: int
    worlds: list[World]


def _options(ask: Ask) -> list[str]:
    """The options of the command that the form's fields stand for; empty where none is filled.

    Raises:
        Problem: a field has what no option takes.
    """
    options: list[str] = []
    for name, text in _fields(ask).items():
        if not _WORD.fullmatch(text) or len(text) > WORDS_MAX:
            raise Problem(
                400, f"{name}={text[:80]!r}", why="a field has names and sizes, with commas between", hint="arc,s3fifo"
            )
        tier = name.removeprefix("capacity_")
        if text:
            options.append(f"--{name}={text}" if tier == name else f"--capacity={tier}={text}")
    return options


def _fields(ask: Ask) -> dict[str, str]:
    """What the form's fields have, without blanks."""
    names = ["policy", "admission", *(f"capacity_{tier}" for tier in TIERS)]
    return {name: ask.query.get(name, "").replace(" ", "") for name in names}


async def _answer(ask: Ask) -> Raw | None:
    options = _options(ask)
    if not options:
        if ask.is_twin:
            raise Problem(400, "no other plan is asked for", hint="?policy=arc,s3fifo&capacity_g2=2x")
        return None
    source = f"--projection={ask.options.projection}", f"--instance={ask.instance}", f"--at={ask.until}"
    return Raw(ask.worlds.play(*options, *source))


async def _commands(ask: Ask, _answer: Raw | None) -> list[str]:
    return [ask.command("what-if", *_options(ask), with_at=False, at=ask.until)]


async def _context(ask: Ask, answer: Raw | None) -> dict[str, object]:
    found = msgspec.json.decode(answer, type=Worlds) if answer else None
    lines: defaultdict[str, list[tuple[int, float]]] = defaultdict(list)
    bound: dict[int, float] = {}
    for world in found.worlds if found else ():
        lines[world.line].append((world.slots, 100 * world.hits / max(1, world.asked)))
        bound[world.slots] = 100 * world.bound / max(1, world.asked)
    picture, curves = draw_curves({name: sorted(points) for name, points in lines.items()}, sorted(bound.items()))
    return {
        "found": found,
        "picture": picture,
        "curves": curves,
        "fields": _fields(ask),
        "policies": POLICIES,
        "admissions": ADMISSIONS,
        "sizes": SIZES,
        "tiers": await ask.projection.tiers(ask.instance),
    }


VIEW = View(
    path="/i/{instance}/what-if",
    template="what_if.html",
    answer=_answer,
    commands=_commands,
    title=lambda ask: f"What if: {ask.instance}",
    context=_context,
    time_s=PAGE_S,
)
