"""What a worker and an owner say to each other. None of it is an event: only the owner makes events.

    kvbm.reports.<instance>.<rank>.hello|heartbeat|report    worker → owner, kept in the stream KVBM_REPORTS for a while
    kvbm.workers.<instance>.open                             worker → owner, a request: what is still to be done?

Rules
1. Each message carries its worker's `incarnation`. What an incarnation says counts until the next one has spoken.
2. A worker has *seen* the log up to a place `(epoch, n)`. A transfer up to there which is not among its `unfinished` ones
   is one whose slots it writes no more. Once true for an incarnation, this stays true, so old heartbeats do no harm.
3. Decoding is total: whatever the bytes are, the answer is a message or an `InvalidReport`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from kvbm_events.schema import MAX_BLOCKS, MAX_CAPACITY, Runs, TierName, are_checksums, total
from kvbm_events.schema.errors import KvbmError
from kvbm_events.subjects import check_instance

MAX_RANKS = 4096
MAX_UNFINISHED = 65_536
_MAX_N = 1 << 62

T = TypeVar("T")
Place = tuple[int, int]
"""`(epoch, n)` of an event."""
Number = Annotated[int, Meta(ge=0, le=_MAX_N)]
Rank = Annotated[int, Meta(ge=0, lt=MAX_RANKS)]
Incarnation = Annotated[str, Meta(min_length=1, max_length=64)]
TransferId = Annotated[str, Meta(pattern=r"^[0-9]{1,18}\.[0-9]{1,18}\Z")]
Reason = Annotated[str, Meta(max_length=1024)]
SlotRuns = Annotated[Runs, Meta(max_length=MAX_BLOCKS)]


class InvalidReport(KvbmError):
    """Bytes that are no message of a worker or an owner, or one that contradicts itself."""


class HeldTier(Struct, frozen=True, kw_only=True):
    """A tier in a worker's memory, in slots; `kept` says whether it still has what a worker before had put there."""

    tier: TierName
    capacity: Annotated[int, Meta(ge=1, le=MAX_CAPACITY)]
    kept: bool = False


class Heartbeat(Struct, frozen=True, kw_only=True, tag=True):
    """A worker lives.

    :ivar seen: the last event that it took from the log; `(0, 0)` before the first
    :ivar unfinished: transfers up to there that it will still write to, or whose report is not stored yet
    :ivar ended: it ends now and begins nothing more
    """

    incarnation: Incarnation
    seen: tuple[Number, Number] = (0, 0)
    unfinished: Annotated[list[TransferId], Meta(max_length=MAX_UNFINISHED)] = []
    ended: bool = False


class Hello(Struct, frozen=True, kw_only=True, tag=True):
    """A worker is here: said when it starts, and again to every new owner. `seen` and `unfinished` as in `Heartbeat`.

    :ivar pp: stages of pipeline parallel among the ranks
    """

    incarnation: Incarnation
    rank: Rank
    ranks: Annotated[int, Meta(ge=1, le=MAX_RANKS)]
    pp: Annotated[int, Meta(ge=1, le=MAX_RANKS)] = 1
    namespace: Annotated[str, Meta(max_length=1024)]
    tiers: Annotated[list[HeldTier], Meta(max_length=8)] = []
    seen: tuple[Number, Number] = (0, 0)
    unfinished: Annotated[list[TransferId], Meta(max_length=MAX_UNFINISHED)] = []


class Reported(Struct, frozen=True, kw_only=True, tag=True):
    """What became of blocks of a transfer at one rank. Its fields are those of `kvbm_tiers.Report`.

    :ivar slots: destination slots; none means all of the transfer that this rank has not reported yet
    """

    incarnation: Incarnation
    transfer: TransferId
    slots: SlotRuns = []
    reason: Reason = ""
    stopped: bool = True
    length_bytes: Number = 0
    checksums: str = ""


Message = Hello | Heartbeat | Reported


class OpenQuestion(Struct, frozen=True, kw_only=True):
    """A worker asks the owner of `epoch` what is still to be done. Owners of other epochs keep silent."""

    epoch: Number
    hello: Hello


class OpenJob(Struct, frozen=True, kw_only=True):
    """A transfer of which this rank has not said what became of these destination slots."""

    transfer: TransferId
    slots: SlotRuns


class OpenAnswer(Struct, frozen=True, kw_only=True):
    """What is still to be done, of all transfers up to and with `(epoch, n)`.

    :ivar refusal: why the worker is not taken; empty if it is
    """

    epoch: Number
    n: Number = 0
    jobs: list[OpenJob] = []
    refusal: str = ""


Kind = Literal["hello", "heartbeat", "report"]
_KINDS: dict[type[Message], Kind] = {Hello: "hello", Heartbeat: "heartbeat", Reported: "report"}
_SUBJECT = re.compile(r"kvbm\.reports\.([A-Za-z0-9_-]+)\.([0-9]{1,4})\.(hello|heartbeat|report)")

encode: Callable[[Message | OpenQuestion | OpenAnswer], bytes] = msgspec.json.Encoder().encode
"""A message as JSON bytes."""
_decoder: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)
_question_decoder = msgspec.json.Decoder(OpenQuestion)
_answer_decoder = msgspec.json.Decoder(OpenAnswer)


def decode_message(subject: str, data: bytes) -> tuple[int, Message]:
    """Which rank says what.

    Raises:
        InvalidReport: the bytes are no message, the message contradicts itself, or stands on the wrong subject.
    """
    match = _SUBJECT.fullmatch(subject)
    if not match:
        raise InvalidReport(f"{subject[:120]!r} is no subject of a worker's message")
    message = _decode(_decoder, data, f"message on {subject}")
    rank = int(match[2])
    flaw = "" if _KINDS[type(message)] == match[3] else f"it is a {type(message).__name__}"
    if isinstance(message, Reported):
        flaw = flaw or _report_flaw(message)
    elif isinstance(message, Hello) and not (message.rank == rank < message.ranks):
        flaw = flaw or f"it is of rank {message.rank} of {message.ranks}"
    if flaw:
        raise InvalidReport(f"a message on {subject} is damaged", why=flaw)
    return rank, message


def decode_question(data: bytes) -> OpenQuestion:
    """What a worker asks. Raises InvalidReport."""
    question = _decode(_question_decoder, data, "worker's question")
    if question.hello.rank >= question.hello.ranks:
        raise InvalidReport(
            "a worker's question is damaged", why=f"rank {question.hello.rank} of {question.hello.ranks}"
        )
    return question


def decode_answer(data: bytes) -> OpenAnswer:
    """What an owner answers. Raises InvalidReport."""
    answer = _decode(_answer_decoder, data, "owner's answer")
    for job in answer.jobs:
        if flaw := _runs_flaw(job.slots):
            raise InvalidReport("an owner's answer is damaged", why=flaw)
    return answer


def _decode(decoder: msgspec.json.Decoder[T], data: bytes, what: str) -> T:
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidReport(f"{len(data)} bytes are no {what}", why=str(error)) from error


def _report_flaw(report: Reported) -> str:
    if flaw := _runs_flaw(report.slots):
        return flaw
    blocks = total(report.slots)
    if not are_checksums(report.checksums, blocks):
        return f"{blocks} slots, but {len(report.checksums)} characters of checksums"
    if not report.reason and not (report.stopped and blocks):
        return "blocks that arrived are named, and nobody writes to them any more"
    return ""


def _runs_flaw(runs: Runs) -> str:
    """What is wrong with runs that may come from anywhere: they must be small before they are expanded."""
    for first, count in runs:
        if first < 0 or not 0 < count <= MAX_BLOCKS or first + count > MAX_CAPACITY:
            return f"[{first}, {count}] is not a run of slots"
    blocks = total(runs)
    return f"it speaks of {blocks} blocks, and a transfer has at most {MAX_BLOCKS}" if blocks > MAX_BLOCKS else ""


def place_of(transfer: str) -> Place:
    """Where a transfer's `…Started` event stands, which is what its name says."""
    epoch, _, n = transfer.partition(".")
    return int(epoch), int(n)


def report_subject(instance: str, rank: int, message: Message) -> str:
    """The subject of a rank's message."""
    return f"kvbm.reports.{check_instance(instance)}.{rank}.{_KINDS[type(message)]}"


def reports_of(instance: str) -> str:
    """The filter for all that the ranks of an instance say."""
    return f"kvbm.reports.{check_instance(instance)}.>"


def open_subject(instance: str) -> str:
    """Where the owner of an instance can be asked what is open."""
    return f"kvbm.workers.{check_instance(instance)}.open"
