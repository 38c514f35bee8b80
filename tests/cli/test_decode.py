"""`kvbm decode`: every event, every slot, every key; and bodies that are no events."""

from __future__ import annotations

import json
import pty
import subprocess

import pytest

from cli.conftest import KVBM, PLAIN
from kvbm_events import schema
from kvbm_events.codec import encode
from kvbm_nats.cli.expand import BLOCKS_MAX, as_lines, expand

A, B, C = ("a" * 32, "b" * 32, "c" * 32)
AT = {"epoch": 3, "n": 17, "at_us": 1_764_000_000_123_456}
STARTED = {
    "transfer": "3.9", "source": "g1", "tier": "g2", "source_slots": [(7, 1), (4, 1)], "slots": [(0, 2)],
    "keys": A + B, "deadline_us": 5, "parent": C,
}  # fmt: skip
COMPLETED = {"transfer": "3.9", "tier": "g2", "slots": [(0, 2)], "length_bytes": 8, "checksums": "1" * 16 + "2" * 16}
FAILED = {"transfer": "3.9", "tier": "g2", "slots": [(0, 2)], "reason": "timeout"}
EVENTS = [
    schema.Opened(**AT, namespace="ns", owner="me", tiers=[schema.TierSpec(tier="g1", capacity=4)], kept=["g1"]),
    schema.Allocated(**AT, tier="g1", request="r", slots=[(5, 2), (9, 1)]),
    schema.Registered(**AT, tier="g1", request="r", slots=[(5, 2), (9, 1)], keys=A + B + C, existing=[(1, 42)]),
    schema.Matched(**AT, request="r", asked=3, found=[schema.Found(tier="g1", blocks=1, last=A)], missed=B + C),
    schema.Released(**AT, request="r", tier="g1", slots=[(5, 2)]),
    schema.OffloadStarted(**AT, **STARTED),
    schema.OffloadCompleted(**AT, **COMPLETED),
    schema.OffloadFailed(**AT, **FAILED),
    schema.OnboardStarted(**AT, **STARTED),
    schema.OnboardCompleted(**AT, **COMPLETED),
    schema.OnboardFailed(**AT, **FAILED),
    schema.Evicted(**AT, tier="g1", slots=[(9, 1), (5, 1)], keys=B + A, reason="capacity", actor="lru"),
    schema.Attached(**AT, rank=0, holder="worker 1", contents=[schema.Contents(tier="g2", name="x", why="it is new")]),
    schema.Noted(**AT, tier="g4", writer="replica-1", slots=[(5, 2)], keys=A + B, checksums="1" * 16 + "2" * 16),
]


def body(event) -> str:
    return encode(event).decode()


def test_the_samples_are_every_event():
    assert {type(event) for event in EVENTS} == set(schema.AnyEvent.__args__)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_every_event_is_expanded_to_all_that_it_says(event):
    fields = expand(event)
    assert fields["type"] == type(event).__name__
    assert fields["at"] == "2025-11-24T16:00:00.123456+00:00"
    assert set(fields) == {"type", "at", *event.__struct_fields__}
    text = "\n".join(as_lines(event))
    assert text.startswith(f"{type(event).__name__} 3.17 at 2025-11-24T16:00:00.123456+00:00\n")
    for name in ("keys", "missed", "slots", "source_slots", "checksums"):
        for item in fields.get(name, ()):
            assert str(item) in text


def test_a_block_is_a_line(kvbm):
    done = kvbm("decode", body(EVENTS[2]))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1:] == [
        "  tier     g1",
        "  request  r",
        "  parent",
        f"  slot 5  key {A}",
        f"  slot 6  key {B}  already in slot 42",
        f"  slot 9  key {C}",
    ]


def test_a_transfer_says_from_where_to_where(kvbm):
    lines = kvbm("decode", body(EVENTS[5])).stdout.splitlines()
    assert lines[-2:] == [f"  from slot 7  slot 0  key {A}", f"  from slot 4  slot 1  key {B}"]
    lines = kvbm("decode", body(EVENTS[6])).stdout.splitlines()
    assert lines[-2:] == [f"  slot 0  checksum {'1' * 16}", f"  slot 1  checksum {'2' * 16}"]


def test_stdin_and_json(kvbm):
    done = kvbm("decode", "--json", stdin=body(EVENTS[3]) + "\n")
    assert (done.returncode, done.stderr) == (0, "")
    decoded = json.loads(done.stdout)
    assert decoded["found"] == [{"tier": "g1", "blocks": 1, "last": A}]
    assert decoded["missed"] == [B, C]
    assert decoded["priority"] == 50


def test_names_cannot_steer_the_terminal(kvbm):
    done = kvbm("decode", body(schema.Released(**AT, request="r\x1b[2J\n\u009b")))
    assert "  request  r\\x1b[2J\\n\\x9b\n" in done.stdout


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "0 bytes are not an event"),
        ("hello", "5 bytes are not an event"),
        ('{"type": "Swapped", "epoch": 1}', "event type 'Swapped' is unknown"),
        ('{"type": "Released", "epoch": 1}', "a Released event is damaged"),
        (body(EVENTS[1])[:-5], "bytes are not an event"),
    ],
)
def test_what_is_no_event_is_trouble(kvbm, text, said):
    done = kvbm("decode", stdin=text)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("kvbm: ")
    assert said in done.stderr


def test_an_event_of_endless_slots_is_not_expanded(kvbm):
    done = kvbm("decode", body(schema.Allocated(**AT, tier="g1", request="r", slots=[(0, BLOCKS_MAX + 1)])))
    assert (done.returncode, done.stdout) == (2, "")
    assert f"the limit is {BLOCKS_MAX}" in done.stderr


def test_a_time_beyond_the_calendar(kvbm):
    done = kvbm("decode", body(schema.Released(epoch=1, n=0, at_us=2**63 - 1, request="r")))
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "Released 1.0 at 9223372036854775807 us")


def test_stdin_has_a_limit(kvbm):
    done = kvbm("decode", stdin=" " * (8 << 20) + "{}")
    assert (done.returncode, done.stdout) == (2, "")
    assert "more than 8 MiB" in done.stderr


def test_a_terminal_is_not_waited_for():
    _, terminal = pty.openpty()
    done = subprocess.run(
        [KVBM, "decode"], stdin=terminal, capture_output=True, text=True, timeout=60, check=False, env=PLAIN
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no event to decode" in done.stderr
