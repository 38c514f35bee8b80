"""Hypothesis strategies: every event that is well formed, and bytes that are nearly one."""

from __future__ import annotations

from hypothesis import strategies as st

from kvbm_events.schema import (
    KEY_DIGITS,
    TIERS,
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
    Runs,
    TierSpec,
    total,
)

TEXT = st.text(max_size=20)
NAMES = st.text(st.characters(codec="ascii", exclude_categories=["C"]), max_size=12)
COUNTS = st.integers(0, 2**40)
TIER_NAMES = st.sampled_from(TIERS)
KEYS = st.text("0123456789abcdef", min_size=KEY_DIGITS, max_size=KEY_DIGITS)
PARENTS = st.one_of(st.just(""), KEYS)
RUNS = st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 5)), max_size=4)
EXISTING = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 5000)), max_size=3)
HEAD = {"epoch": st.integers(1, 2**40), "n": COUNTS, "at_us": COUNTS}


def packed(count: int, digits: int = KEY_DIGITS) -> st.SearchStrategy[str]:
    """So many keys, or checksums, in one string."""
    return st.binary(min_size=count * digits // 2, max_size=count * digits // 2).map(bytes.hex)


def _with_keys(cls, **fields) -> st.SearchStrategy[AnyEvent]:
    def build(slots: Runs):
        return st.builds(cls, **HEAD, tier=TIER_NAMES, slots=st.just(slots), keys=packed(total(slots)), **fields)

    return RUNS.flatmap(build)


def _completed(cls) -> st.SearchStrategy[AnyEvent]:
    def build(slots: Runs):
        sums = st.one_of(st.just(""), packed(total(slots), 16))
        fields = {"transfer": NAMES, "tier": TIER_NAMES, "length_bytes": COUNTS, "existing": EXISTING}
        return st.builds(cls, **HEAD, slots=st.just(slots), checksums=sums, **fields)

    return RUNS.flatmap(build)


def _started(cls) -> st.SearchStrategy[AnyEvent]:
    fields = {"source": TIER_NAMES, "source_slots": RUNS, "deadline_us": COUNTS, "request": NAMES, "priority": COUNTS}
    return _with_keys(cls, transfer=NAMES, parent=PARENTS, writer=NAMES, **fields)


def _noted(slots: Runs) -> st.SearchStrategy[AnyEvent]:
    columns = {"slots": st.just(slots), "keys": packed(total(slots)), "checksums": packed(total(slots), 16)}
    return st.builds(Noted, **HEAD, tier=TIER_NAMES, writer=NAMES, parent=PARENTS, length_bytes=COUNTS, **columns)


def _failed(cls) -> st.SearchStrategy[AnyEvent]:
    return st.builds(
        cls, **HEAD, transfer=NAMES, tier=TIER_NAMES, slots=RUNS, reason=TEXT, stopped=st.booleans(), actor=TEXT
    )


_specs = st.builds(TierSpec, tier=TIER_NAMES, capacity=COUNTS, policy=NAMES, seen_min=COUNTS, priority_min=COUNTS)
_found = st.builds(Found, tier=TIER_NAMES, blocks=COUNTS, last=KEYS)
_contents = st.lists(
    st.builds(Contents, tier=TIER_NAMES, name=st.text(min_size=1, max_size=20), why=TEXT),
    min_size=1,
    max_size=4,
    unique_by=lambda each: each.tier,
)
_missed = st.integers(0, 6).flatmap(packed)

BY_TYPE: dict[type, st.SearchStrategy[AnyEvent]] = {
    Opened: st.builds(
        Opened,
        **HEAD,
        namespace=TEXT,
        owner=TEXT,
        tiers=st.lists(_specs, max_size=4),
        kept=st.lists(TIER_NAMES, max_size=3),
        requests=st.sampled_from(["kept", "dropped"]),
    ),
    Attached: st.builds(Attached, **HEAD, rank=COUNTS, holder=TEXT, contents=_contents),
    Allocated: st.builds(Allocated, **HEAD, tier=TIER_NAMES, request=TEXT, slots=RUNS, priority=COUNTS),
    Registered: _with_keys(Registered, request=TEXT, parent=PARENTS, existing=EXISTING),
    Matched: st.builds(
        Matched,
        **HEAD,
        request=TEXT,
        start=COUNTS,
        parent=PARENTS,
        asked=COUNTS,
        found=st.lists(_found, max_size=3),
        missed=_missed,
        unnamed=COUNTS,
        held=st.booleans(),
        priority=COUNTS,
    ),
    Released: st.builds(
        Released,
        **HEAD,
        request=TEXT,
        reason=st.sampled_from(["finished", "aborted", "preempted", "lease_expired", "owner_restarted"]),
        tier=st.one_of(st.just(""), TIER_NAMES),
        slots=RUNS,
    ),
    OffloadStarted: _started(OffloadStarted),
    OffloadCompleted: _completed(OffloadCompleted),
    OffloadFailed: _failed(OffloadFailed),
    OnboardStarted: _started(OnboardStarted),
    OnboardCompleted: _completed(OnboardCompleted),
    OnboardFailed: _failed(OnboardFailed),
    Evicted: _with_keys(
        Evicted,
        reason=st.sampled_from(["capacity", "ttl", "reset", "corrupt", "operator", "gone"]),
        actor=TEXT,
        request=TEXT,
        writer=NAMES,
    ),
    Noted: RUNS.flatmap(_noted),
}
EVENTS = st.one_of(*BY_TYPE.values())
