"""docs/worker.md is true: its messages can be read, its defaults are the code's."""

import re
from pathlib import Path

import msgspec

from kvbm_nats.workers import WorkerOptions
from kvbm_nats.workers.ledger import EARLY_MAX
from kvbm_tiers.reports import MAX_RANKS, ReportsOptions, decode_message, encode
from kvbm_tiers.worker import WorkerOptions as Habits
from kvbm_tiers.worker.eyes import TRIMMED

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "worker.md").read_text()
KINDS = {"Hello": "hello", "Heartbeat": "heartbeat", "Reported": "report"}


def test_the_messages_of_the_page_are_messages_and_whole():
    (block,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    lines = [line.encode() for line in block.splitlines()]
    told = [decode_message(f"kvbm.reports.i.0.{KINDS[msgspec.json.decode(line)['type']]}", line)[1] for line in lines]
    assert [type(message).__name__ for message in told] == list(KINDS)
    assert [encode(message) for message in told] == lines


def test_the_defaults_of_the_page_are_the_codes():
    habits, owner, reports = Habits(), WorkerOptions(), ReportsOptions()
    for said in [
        f"| heartbeat | {habits.heartbeat_s:g} s |",
        f"| silence that fails transfers | {owner.dead_after_s:g} s |",
        f"mover | {habits.in_flight_max} |",
        f"reads on | {habits.waiting_max:,} |",
        f"under way | {habits.stop_timeout_s:g} s |",
        f"{reports.max_age_s / 3600:g} h, {reports.max_bytes >> 20} MiB",
        f"| ranks of an instance | {MAX_RANKS:,} |",
        f"acknowledged | {EARLY_MAX:,} |",
        f'"{TRIMMED}"',
    ]:
        assert said in PAGE, said
