"""A tier plan as people write it: `g1=4096,g2=16384:arc,g3=100000:lru:selective/3`.

Each tier is `NAME=BLOCKS`, then, where the default does not do, `:POLICY` and `:ADMISSION` in any order. `selective/3`
takes blocks that were seen three times, `priority/60` those of requests of priority 60 and more, and both can stand
together. `observed` says that an engine decides in the tier.
"""

from __future__ import annotations

import re
from typing import get_args

import msgspec

from kvbm_events.schema import SEEN_MIN, TIERS, Admission, TierSpec
from kvbm_events.schema.errors import InvalidCommand
from kvbm_statemachine import POLICIES

_TIER = re.compile(r"(?P<tier>g[1-4])=(?P<capacity>[0-9_]+)(?P<rest>(:[a-z0-9_/-]+)*)")
_ADMISSION = re.compile(rf"({'|'.join(get_args(Admission))})(?:/([0-9]+))?")
_PRIORITY = re.compile(r"priority/([0-9]{1,3})")


def parse_plan(text: str) -> list[TierSpec]:
    """The tiers of a plan, fastest first.

    Raises:
        InvalidCommand: the text is no plan; the message names the part that is wrong.
    """
    specs = [_parse_tier(part.strip()) for part in text.split(",")]
    names = [spec.tier for spec in specs]
    if len(set(names)) != len(names):
        raise InvalidCommand(f"plan {text!r}", why="it names a tier twice")
    return sorted(specs, key=lambda spec: TIERS.index(spec.tier))


def parse_admission(word: str) -> tuple[Admission, int]:
    """An admission, and how often a block must have been seen for `selective`: `selective/3`.

    Raises:
        InvalidCommand: there is no such admission.
    """
    match = _ADMISSION.fullmatch(word)
    if not match:
        raise InvalidCommand(f"admission {word!r}", why="there is no such", hint=", ".join(get_args(Admission)))
    return msgspec.convert(match[1], Admission), int(match[2] or SEEN_MIN)


def _parse_tier(part: str) -> TierSpec:
    match = _TIER.fullmatch(part)
    if not match:
        raise InvalidCommand(
            f"{part!r} is no tier", why="a tier is NAME=BLOCKS[:POLICY][:ADMISSION]", hint="g1=4096,g2=16384:lru"
        )
    fields: dict[str, object] = {"tier": match["tier"], "capacity": int(match["capacity"])}
    for word in match["rest"].split(":")[1:]:
        if _ADMISSION.fullmatch(word):
            fields["admission"], fields["seen_min"] = parse_admission(word)
        elif least := _PRIORITY.fullmatch(word):
            fields["priority_min"] = int(least[1])
        elif word in POLICIES:
            fields["policy"] = word
        elif word == "observed":
            fields["control"] = word
        else:
            known = [*POLICIES, *get_args(Admission), "priority/60", "observed"]
            raise InvalidCommand(f"{word!r} in {part!r}", why="it is no policy and no admission", hint=", ".join(known))
    return msgspec.convert(fields, TierSpec)
