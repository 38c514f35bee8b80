"""A small cache with a past, in a projection: generated traffic, an instance whose names are hostile, one with a block of another's."""

from __future__ import annotations

from explain.played import Engine
from explain.small_owner import Owner, prompt
from kvbm_events.memory import MemoryLog
from kvbm_nats.traces import Workload, generate
from kvbm_statemachine.decide import note
from projection.checks import caught_up

BUSY, ODD, READER = "busy", "odd", "reader"
NOTED = "0f" * 16
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'; DROP TABLE journal; --",
    "..",
    ".",
    "../../etc/passwd",
    "a/b?c=d#e&f",
    "name.json",
    "why-miss",
    "-x",
    "--help",
    "{{7*7}}",
    "50%",
    "two words",
    "été ∆",
    "\u202eright to left",
    "\x1b[31mred",
    "line\nbreak",
]


async def write(url: str) -> None:
    """Fill the projection at the URL."""
    log = MemoryLog()
    trace = list(generate(Workload(seed=3, requests=120)))
    Engine(log, BUSY, "g1=300,g2=900", "model=<b>test</b>;block_tokens=16", overlap=2).play(trace)
    odd = Owner(log, ODD, "g1=4")
    for number, name in enumerate(HOSTILE):
        odd.at(number)
        odd.fill(name, prompt("system", f"user {number}"))
    note(Owner(log, READER, "g1=4,g4=4").desk, "g4", [NOTED], writer="a-writer", checksums="1" * 16)
    await caught_up(url, log)
