"""The random commands of `history`, chosen by a seed instead of by Hypothesis: the same history every time."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from kvbm_events.schema import AnyEvent
from support.history import PLANS, History

Step = Callable[[History, Random], Any]


def seeded_history(policy: str, plan: str, seed: int, steps: int = 150) -> History:
    """A history of so many commands, some of which are refused; `events` has what happened."""
    chance = Random(seed)
    history = History(policy, PLANS[plan])
    history.open()
    for _ in range(steps):
        chance.choice(_STEPS)(history, chance)
    return history


def seeded_events(policy: str, plan: str, seed: int, steps: int = 150) -> list[AnyEvent]:
    """The events of such a history."""
    return seeded_history(policy, plan, seed, steps).events


def _pick(chance: Random) -> int:
    return chance.randrange(12)


def _path(chance: Random) -> tuple[int, ...]:
    return tuple(chance.choice((0, 0, 0, 1)) for _ in range(chance.randint(1, 6)))


def _request(chance: Random) -> str:
    return chance.choice(("r0", "r1", "r2"))


def _yes(chance: Random) -> bool:
    return chance.random() < 0.5


def _serve(history: History, chance: Random) -> None:
    history.serve(_request(chance), _path(chance), ends=_yes(chance))


def _allocate(history: History, chance: Random) -> None:
    history.allocate(_request(chance), _pick(chance), chance.randint(1, 4), _pick(chance))


def _register(history: History, chance: Random) -> None:
    history.register(_request(chance), _pick(chance), _path(chance), chance.randrange(3))


def _release(history: History, chance: Random) -> None:
    part = chance.choice(("all", "tier", "slots"))
    history.release(_request(chance), _pick(chance), part, chance.randint(1, 3))


def _transfer(history: History, chance: Random) -> None:
    if len(history.state.tiers) > 1:
        ends = _pick(chance), _pick(chance), _pick(chance), chance.randint(1, 4)
        if _yes(chance):
            history.offload(*ends)
        else:
            history.onboard(_request(chance), *ends)


def _settle(history: History, chance: Random) -> None:
    if history.state.transfers:
        if _yes(chance):
            history.complete(_pick(chance), chance.randrange(8))
        else:
            history.fail(_pick(chance), chance.randrange(8), stopped=_yes(chance))


def _evict(history: History, chance: Random) -> None:
    history.evict(_pick(chance), _pick(chance), _pick(chance), chance.choice(("operator", "corrupt", "corrupt")))


def _attach(history: History, chance: Random) -> None:
    if chance.random() < 0.2:
        names = chance.choice("xy"), chance.choice("xy")
        history.attach(chance.randrange(2), _pick(chance), names)
        history.free_quarantined(_pick(chance))


def _note(history: History, chance: Random) -> None:
    history.note(_pick(chance), _path(chance), chance.randrange(3), chance.choice("ab"))


def _reopen(history: History, chance: Random) -> None:
    if chance.random() < 0.3:
        change = chance.choice(("", "lost", "policy", "capacity"))
        history.reopen(change, _pick(chance), chance.choice(("kept", "dropped")))


_STEPS: tuple[Step, ...] = (
    _serve, _serve, _serve, _allocate, _register, _release, _transfer, _transfer, _settle, _settle, _evict, _reopen,
    _attach, _note,
)  # fmt: skip
