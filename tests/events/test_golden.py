"""The wire form, byte by byte: what was written once must be read for ever.

`events.jsonl` has every event with every field that it first had, `events_minimal.jsonl` every event with none that has
a default, as a writer that knew no such field wrote it, `events_grown.jsonl` those that got more fields since, with
all of them. Lines are added when the schema grows; none is ever changed.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec import json, structs

from kvbm_events.codec import decode, encode
from kvbm_events.schema import (
    Allocated,
    AnyEvent,
    Attached,
    Contents,
    Evicted,
    Found,
    Matched,
    Noted,
    OffloadCompleted,
    OffloadFailed,
    OffloadStarted,
    OnboardCompleted,
    OnboardFailed,
    OnboardStarted,
    Opened,
    Registered,
    Released,
    TierSpec,
    TransferFailed,
    TransferStarted,
)
from kvbm_events.subjects import subject_of

GOLDEN = Path(__file__).parents[1] / "golden"
A, B, C = (digit * 32 for digit in "abc")
HEAD = {"epoch": 7, "n": 42, "at_us": 1_764_000_000_000_000}
STARTED = {
    "transfer": "7.42",
    "source": "g1",
    "tier": "g2",
    "source_slots": [(4, 1), (9, 1)],
    "slots": [(0, 2)],
    "keys": A + B,
    "deadline_us": 1_764_000_030_000_000,
}
FULL_STARTED = STARTED | {"parent": C, "request": "req-1", "priority": 80}
COMPLETED = {"transfer": "7.42", "tier": "g2", "slots": [(0, 2)]}
FULL_COMPLETED = COMPLETED | {
    "length_bytes": 1_048_576,
    "checksums": "0123456789abcdef" * 2,
    "existing": [(1, 17)],
}
FAILED = {"transfer": "7.42", "tier": "g2", "slots": [(0, 2)], "reason": "deadline passed"}
NOTED = {"tier": "g4", "writer": "replica-1", "slots": [(3, 2)], "keys": A + B, "checksums": "0123456789abcdef" * 2}
SPECS = [
    TierSpec(tier="g1", capacity=1024, policy="lru", control="observed", admission="selective", seen_min=3),
    TierSpec(tier="g2", capacity=4096, policy="arc", admission="on_evict"),
]
FOUND = [Found(tier="g1", blocks=3, last=A), Found(tier="g2", blocks=1, last=B)]

FULL: list[AnyEvent] = [
    Opened(**HEAD, namespace="llama-8b;bf16;16", owner="host:17", tiers=SPECS, kept=["g2"], requests="kept"),
    Allocated(**HEAD, tier="g1", request="req-1", slots=[(0, 3), (7, 1)], priority=80),
    Registered(**HEAD, tier="g1", request="req-1", slots=[(0, 2)], keys=A + B, parent=C, existing=[(1, 9)]),
    Matched(**HEAD, request="req-1", asked=9, found=FOUND, missed=C + A, unnamed=3, held=False, priority=80),
    Released(**HEAD, request="req-1", reason="preempted", tier="g1", slots=[(2, 1)]),
    OffloadStarted(**HEAD, **FULL_STARTED),
    OffloadCompleted(**HEAD, **FULL_COMPLETED),
    OffloadFailed(**HEAD, **FAILED, stopped=False),
    OnboardStarted(**HEAD, **FULL_STARTED),
    OnboardCompleted(**HEAD, **FULL_COMPLETED),
    OnboardFailed(**HEAD, **FAILED, stopped=False),
    Evicted(**HEAD, tier="g1", slots=[(5, 2)], keys=B + A, reason="capacity", actor="lineage-lru", request="req-2"),
    Attached(
        **HEAD, rank=1, holder="5b1c7a8e90ad4f31", contents=[Contents(tier="g3", name="d20f0a1b", why="it is new")]
    ),
    Noted(**HEAD, **NOTED, parent=C, length_bytes=1_048_576),
]
MINIMAL: list[AnyEvent] = [
    Opened(**HEAD, namespace="llama-8b;bf16;16", owner="host:17", tiers=[TierSpec(tier="g1", capacity=1024)]),
    Allocated(**HEAD, tier="g1", request="req-1", slots=[(0, 3)]),
    Registered(**HEAD, tier="g1", request="req-1", slots=[(0, 2)], keys=A + B),
    Matched(**HEAD, request="req-1", asked=9),
    Released(**HEAD, request="req-1"),
    OffloadStarted(**HEAD, **STARTED),
    OffloadCompleted(**HEAD, **COMPLETED),
    OffloadFailed(**HEAD, **FAILED),
    OnboardStarted(**HEAD, **STARTED),
    OnboardCompleted(**HEAD, **COMPLETED),
    OnboardFailed(**HEAD, **FAILED),
    Evicted(**HEAD, tier="g1", slots=[(5, 2)], keys=B + A, reason="ttl", actor="operator"),
    Attached(**HEAD, rank=0, holder="5b1c7a8e90ad4f31", contents=[Contents(tier="g3", name="d20f0a1b")]),
    Noted(**HEAD, **NOTED),
]
GROWN: list[AnyEvent] = [
    *(
        structs.replace(event, checksums="fedcba9876543210" + "0" * 16)
        for event in FULL
        if isinstance(event, TransferStarted)
    ),
    structs.replace(FULL[0], tiers=[structs.replace(SPECS[0], priority_min=60), SPECS[1]]),
    structs.replace(next(event for event in FULL if isinstance(event, Evicted)), reason="gone"),
    *(structs.replace(event, actor="operator ann") for event in FULL if isinstance(event, TransferFailed)),
    *(
        structs.replace(event, checksums="fedcba9876543210" + "0" * 16, writer="replica-1")
        for event in FULL
        if isinstance(event, TransferStarted)
    ),
    structs.replace(next(event for event in FULL if isinstance(event, Evicted)), reason="gone", writer="replica-1"),
    structs.replace(next(event for event in FULL if isinstance(event, Matched)), start=26, parent=B),
]
FILES = {"events.jsonl": FULL, "events_minimal.jsonl": MINIMAL, "events_grown.jsonl": GROWN}
NEWEST = {type(event): event for event in [*FULL, *GROWN]}
CASES = [
    pytest.param(line, event, id=f"{name}-{type(event).__name__}")
    for name, events in FILES.items()
    for line, event in zip((GOLDEN / name).read_bytes().splitlines(), events, strict=True)
]


@pytest.mark.parametrize(("line", "event"), CASES)
def test_old_bytes_are_read_and_written_as_they_were(line, event):
    assert decode(line) == event
    assert encode(event) == line


@pytest.mark.parametrize("events", [FULL, MINIMAL])
def test_every_type_is_there(events):
    assert {type(event) for event in events} == set(AnyEvent.__args__)


@pytest.mark.parametrize(
    ("full", "minimal"), list(zip(NEWEST.values(), MINIMAL, strict=True)), ids=[kind.__name__ for kind in NEWEST]
)
def test_the_full_form_has_every_field_and_the_minimal_the_required_ones(full, minimal):
    fields = structs.fields(full)
    assert [*json.decode(encode(full))] == ["type", *(field.encode_name for field in fields)]
    assert [*json.decode(encode(minimal))] == ["type", *(field.encode_name for field in fields if field.required)]


@pytest.mark.parametrize(
    ("event", "subject"),
    [
        (FULL[0], "kvbm.v1.a.all.opened"),
        (FULL[2], "kvbm.v1.a.g1.registered"),
        (FULL[3], "kvbm.v1.a.all.matched"),
        (FULL[4], "kvbm.v1.a.g1.released"),
        (MINIMAL[4], "kvbm.v1.a.all.released"),
        (FULL[5], "kvbm.v1.a.g2.offload.started"),
        (FULL[9], "kvbm.v1.a.g2.onboard.completed"),
        (FULL[11], "kvbm.v1.a.g1.evicted"),
        (FULL[12], "kvbm.v1.a.all.attached"),
        (FULL[13], "kvbm.v1.a.g4.noted"),
    ],
)
def test_the_subject_tells_instance_tier_and_event(event, subject):
    assert subject_of("a", event) == subject
