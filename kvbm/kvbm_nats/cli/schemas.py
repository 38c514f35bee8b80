"""The JSON schemas of what reading commands write with `--json`: `python -m kvbm_nats.cli.schemas docs/schemas` writes them.

They are made of the structs that are written, and grow by addition only: a reader passes over fields that it does not know.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from kvbm_events.schema import AnyEvent
from kvbm_nats.check import Report as CheckReport
from kvbm_nats.cli.expand import DIGITS, RUNS
from kvbm_nats.cli.quarantine import Quarantine
from kvbm_nats.doctor import Finding
from kvbm_nats.explain.answers import (
    BlockLife,
    Difference,
    InstanceState,
    MissCauses,
    RecentRequests,
    RequestStory,
    WhyMiss,
)
from kvbm_nats.fsck.report import Report as FsckReport
from kvbm_nats.live import Sample
from kvbm_nats.projection.verify import Verification
from kvbm_nats.replay import Verdict
from kvbm_nats.status import Status
from kvbm_nats.traces import TraceStats
from kvbm_nats.traces.play import Report as RunReport
from kvbm_nats.whatif import Answer
from kvbm_tiers import Traffic

Schema = dict[str, Any]


class TailLine(Struct, frozen=True, kw_only=True):
    """An entry of the log, as `kvbm tail` and `kvbm replay --export` write it."""

    seq: int
    subject: str
    event: AnyEvent


class WhatIf(Struct, frozen=True, kw_only=True):
    """What came of all worlds.

    :ivar recorded_found: blocks that the recorded run found
    :ivar unnamed: missed blocks without a name in the log
    """

    recorded_found: int
    unnamed: int
    block_bytes: int
    worlds: list[Answer]


class Doctor(Struct, frozen=True, kw_only=True):
    """All findings; `state` is the worst of theirs."""

    state: str
    findings: list[Finding]


def schemas() -> dict[str, Schema]:
    """By command, as its file is called. `null` is written where nothing was found."""
    figures: dict[str, object] = {"hit_ratio": float, "infinite_hit_ratio": float}
    run = {"events": dict[str, int], "evicted": dict[str, int], "epoch": int, "n": int, "digest": str}
    ends = {"integrity": list[str], "verified": int, "traffic": dict[str, Traffic]}
    return {
        "block-show": _schema(BlockLife | None),
        "check": _schema(CheckReport),
        "decode": _expanded(),
        "diff": _schema(Difference),
        "doctor": _schema(Doctor),
        "fsck": _schema(FsckReport),
        "project": _with_more(Verification, Verification, equal=bool),
        "quarantine": _schema(Quarantine),
        "replay": _with_more(Verdict, Verdict, equal=bool),
        "request-list": _schema(RecentRequests),
        "request-show": _schema(RequestStory | None),
        "stat": _schema(Sample),
        "state": _schema(InstanceState),
        "status": _schema(Status),
        "tail": _schema(TailLine),
        "trace-run": _with_more(RunReport, RunReport, **figures, **run, **ends),
        "trace-stats": _with_more(TraceStats, TraceStats, trace=str, infinite_hit_ratio=float),
        "what-if": _with_more(WhatIf, Answer, name=str, hits=int, moved_bytes=int),
        "why-miss": _schema(WhyMiss | None),
        "why-miss-top": _schema(MissCauses),
    }


def as_text(schema: Schema) -> str:
    """A schema as its file has it."""
    return msgspec.json.format(msgspec.json.encode(schema)).decode() + "\n"


def _schema(kind: Any) -> Schema:  # noqa: ANN401 - a type, or a union of some
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(kind)}


def _with_more(kind: Any, owner: type, **more: Any) -> Schema:  # noqa: ANN401 - types
    """The schema of a type whose part `owner` is written with more fields than it has."""
    schema = _schema(kind)
    part = schema["$defs"][owner.__name__]
    for name, type_ in more.items():
        own = msgspec.json.schema(type_)
        schema["$defs"] |= own.pop("$defs", {})
        part["properties"][name] = own
    part["required"] = [*part.get("required", ()), *more]
    return schema


def _expanded() -> Schema:
    """The schema of an event as `kvbm decode` writes it: runs and packed strings as lists, and the time as text beside it."""
    schema = _schema(AnyEvent)
    for name in (each["$ref"].rpartition("/")[2] for each in schema["anyOf"]):
        fields = schema["$defs"][name]["properties"]
        fields |= {each: msgspec.json.schema(list[int]) for each in RUNS if each in fields}
        fields |= {each: msgspec.json.schema(list[str]) for each in DIGITS if each in fields}
        fields["at"] = msgspec.json.schema(str)
        schema["$defs"][name]["required"] = sorted(fields)
    return schema


def main(folder: Path) -> None:
    """Write all of them."""
    for name, schema in schemas().items():
        (folder / f"{name}.json").write_text(as_text(schema), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
