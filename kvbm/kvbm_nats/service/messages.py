"""What the service and its client say to each other: one struct a question, one an answer, JSON on the wire.

Rules
1. Both sides use this module and no other description of a message.
2. A question with an unknown field, a missing one or one of another type is refused; a field is added with a default.
3. An answer may grow fields; who reads it passes over those it does not know.
4. `(client, number)` names a question. The same name is the same question: it is done once and answered again.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from kvbm_events.schema import ROOT, EvictReason, ReleaseReason, TierName
from kvbm_events.subjects import check_instance

SERVICE = "kvbm"
"""The name that `nats micro ls` shows."""
PREFIX = "kvbm.svc"
Verb = Literal["allocate", "register", "match", "release", "offload", "onboard", "evict", "free", "renew", "status"]

MAX_KEYS = 16_384
"""Keys, or slots, of one question: with the rest of it they stay under NATS's default limit of 1 MiB."""
MAX_NAME = 256
MAX_CLIENT = 64
MAX_CLAIMED = 1024
"""Requests that one `renew` names."""
MAX_WAIT_S = 60.0
"""How long an answer may wait for transfers."""

Client = Annotated[str, Meta(min_length=1, max_length=MAX_CLIENT)]
Number = Annotated[int, Meta(ge=1, le=(1 << 63) - 1)]
Name = Annotated[str, Meta(min_length=1, max_length=MAX_NAME)]
Keys = Annotated[list[str], Meta(max_length=MAX_KEYS)]
Slots = Annotated[list[Annotated[int, Meta(ge=0, lt=1 << 32)]], Meta(max_length=MAX_KEYS)]
Count = Annotated[int, Meta(ge=1, le=MAX_KEYS)]
Priority = Annotated[int, Meta(ge=0, le=100)]
Wait = Annotated[float, Meta(ge=0, le=MAX_WAIT_S)]


class Call(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The head of every question but `status`.

    :ivar client: who asks; its lease is renewed by asking
    :ivar number: above all that the client asked before
    :ivar epoch: the owner's epoch when the question was put first, as the client knows it; 0 if it does not
    :ivar attempt: how often the question was put before
    :ivar durable: whether the answer waits until what was done is stored
    """

    client: Client
    number: Number
    epoch: Annotated[int, Meta(ge=0)] = 0
    attempt: Annotated[int, Meta(ge=0)] = 0
    durable: bool = True


class AllocateCall(Call, frozen=True, kw_only=True):
    """Slots for a request to fill."""

    request: Name
    count: Count
    tier: TierName = "g1"
    priority: Priority = 50


class RegisterCall(Call, frozen=True, kw_only=True):
    """Filled slots get their keys, one a slot, in prefix order; `parent` is the key before the first."""

    request: Name
    slots: Slots
    keys: Keys
    parent: str = ROOT
    tier: TierName = "g1"


class MatchCall(Call, frozen=True, kw_only=True):
    """How much of a prefix is there; with `onboard`, bring to g1 what is below it, and wait up to `wait_s` for that."""

    request: Name
    keys: Keys
    hold: bool = True
    priority: Priority = 50
    onboard: bool = False
    wait_s: Wait = 30.0


class ReleaseCall(Call, frozen=True, kw_only=True):
    """Give back all that a request holds; or what it holds in `tier`; or these allocated `slots` of `tier`."""

    request: Name
    reason: ReleaseReason = "finished"
    tier: TierName | Literal[""] = ""
    slots: Slots = []


class OffloadCall(Call, frozen=True, kw_only=True):
    """Copy blocks down, and wait up to `wait_s` for that."""

    keys: Keys
    source: TierName = "g1"
    tier: TierName = "g2"
    priority: Priority = 50
    wait_s: Wait = 0.0


class OnboardCall(Call, frozen=True, kw_only=True):
    """Copy blocks up for a request, and wait up to `wait_s` for that."""

    request: Name
    keys: Keys
    source: TierName = "g2"
    tier: TierName = "g1"
    wait_s: Wait = 0.0


class EvictCall(Call, frozen=True, kw_only=True):
    """Evict blocks and all that stand on them."""

    keys: Keys
    tier: TierName
    reason: EvictReason = "operator"
    actor: Name = "operator"


class FreeCall(Call, frozen=True, kw_only=True):
    """Say that nobody writes any more to the quarantined slots of these tiers."""

    tiers: Annotated[list[TierName], Meta(min_length=1, max_length=4)]
    actor: Name = "operator"


class RenewCall(Call, frozen=True, kw_only=True):
    """Renew the client's lease, and say which requests are its own: after a restart the service does not know."""

    requests: Annotated[list[Name], Meta(max_length=MAX_CLAIMED)] = []


class StatusCall(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Numbers for people; an empty body asks the same. `digest` adds the state's digest, `room` what could be evicted."""

    digest: bool = False
    room: bool = False


class Answer(Struct, frozen=True, kw_only=True):
    """The head of every answer but `status`: the owner's epoch, and the number of its last event that it speaks of."""

    epoch: int
    n: int


class AllocateAnswer(Answer, frozen=True, kw_only=True):
    """The slots that were given, in the order to fill them."""

    slots: list[int]


class RegisterAnswer(Answer, frozen=True, kw_only=True):
    """The slot of each key: where a key was there already, the one it had."""

    slots: list[int]


class TierHit(Struct, frozen=True, kw_only=True):
    """Blocks found in a row in one tier."""

    tier: TierName
    slots: list[int]


class MatchAnswer(Answer, frozen=True, kw_only=True, omit_defaults=True):
    """What was found, tier by tier in prefix order. `note` says why not all of it could be brought to g1."""

    hits: list[TierHit]
    note: str = ""


class ReleaseAnswer(Answer, frozen=True, kw_only=True):
    """It was given back."""


class TransfersAnswer(Answer, frozen=True, kw_only=True, omit_defaults=True):
    """How far the blocks are: see `Ticket`.

    :ivar transfers: those that were started for them
    :ivar over: whether none of them waits or is under way any more
    :ivar waiting: blocks that have not begun
    :ivar failed: blocks that did not come and will not, by reason
    """

    transfers: list[str]
    over: bool
    waiting: int = 0
    failed: dict[str, int] = {}


class EvictAnswer(Answer, frozen=True, kw_only=True):
    """How many blocks went."""

    blocks: int


class FreeAnswer(Answer, frozen=True, kw_only=True):
    """How many slots were freed."""

    slots: int


class RenewAnswer(Answer, frozen=True, kw_only=True):
    """The lease from now on, in seconds; `lost` are the requests named that hold nothing here any more."""

    lease_s: float
    lost: list[str]


class ErrorBody(Struct, frozen=True, kw_only=True):
    """A refusal: the class of the error, and what it says."""

    error: str
    what: str
    why: str = ""
    hint: str = ""


def subject_of(instance: str, verb: Verb) -> str:
    """Where an instance is asked. Raises InvalidCommand where the name cannot be one."""
    return f"{PREFIX}.{check_instance(instance)}.{verb}"


def claimed_subject(instance: str) -> str:
    """Where a service says that it has claimed the instance, with its epoch as the body: who had it before stops."""
    return f"kvbm.claimed.{check_instance(instance)}"
