"""The panels: text of a view, in the width that there is."""

import pytest

from kvbm_nats.explain.answers import CauseShare, MissCauses
from kvbm_nats.live import Move, PathFlow, Sample, TierFlow, View
from kvbm_nats.live.view import Slots, WorkerSeen
from kvbm_nats.status import PathStatus, Status, TierStatus
from kvbm_nats.top import panels
from kvbm_nats.top.details import move_text
from kvbm_nats.top.text import bar, cut, sparkline

SECOND_US = 1_000_000


def tier(name="g1", **slots):
    counts = {"free": 0, "allocated": 0, "registered": 0, "condemned": 0, "quarantined": 0} | slots
    return TierStatus(tier=name, capacity=sum(counts.values()), policy="lru", control="owned", **counts)


def view(**more):
    sample = Sample(
        at_us=0,
        interval_s=2.0,
        look_ups=20,
        asked=100,
        found={"g1": 25},
        hit_ratio=0.25,
        tiers={"g1": TierFlow(came=8, left=4)},
        evicted={"capacity": 4, "corrupt": 2},
        paths=[PathFlow(source="g1", tier="g2", transfers=2, blocks=64, size_bytes=3_000_000)],
        lag=0,
    )
    return View(instance="i", at_us=10 * SECOND_US, samples=[sample], **more)


def test_a_bar_has_a_cell_for_all_that_is_there():
    assert bar([(50, "█"), (1, "▒")], 100, 10) == "█████▒····"
    assert bar([(0, "█")], 100, 4) == "····"
    assert bar([(100, "█"), (1, "?")], 100, 5) == "█████"


def test_a_sparkline_has_heights_and_blanks_for_what_is_not_known():
    assert sparkline([0, 1, None, 2], 6) == "  ▁▅ █"
    assert sparkline([0.5], 1, top=1.0) == "▅"
    assert sparkline([1, 2, 3], 0) == ""


def test_what_is_too_long_shows_that_it_goes_on():
    assert (cut("abc", 3), cut("abcd", 3)) == ("abc", "ab…")


def test_tiers_say_their_slots_without_colour():
    shown = view(slots=Slots(tiers=[tier(free=50, registered=40, allocated=5, quarantined=5)]))
    (row,) = panels.tiers_text(shown, 76).splitlines()
    assert row.startswith("g1 ██")
    assert {"█", "▒", "?", "·"} <= set(row)
    assert "40 of 100" in row
    assert "in    4  out    2" in row
    assert "lru" in panels.tiers_text(shown, 120)


@pytest.mark.parametrize("width", [40, 76, 116, 196])
def test_no_row_is_wider_than_its_panel(width):
    shown = view(slots=Slots(tiers=[tier(free=9, registered=1_000_000)]))
    for text in (panels.tiers_text, panels.rates_text, panels.paths_text, panels.notice_text, panels.workers_text):
        if width > 40 or text is not panels.tiers_text:
            assert max(map(len, text(shown, width).splitlines())) <= width


def test_rates_are_of_the_last_seconds_and_leave_out_what_is_not_known():
    shown = view()
    away = Sample(at_us=0, interval_s=2.0, away="gone")
    text = panels.rates_text(View(instance="i", at_us=0, samples=[*shown.samples, away]), 38)
    assert "hit ratio      25%" in text
    assert "look-ups      10/s" in text
    assert "moved      1.5MB/s" in text


def test_paths_say_what_waits_only_where_a_service_does():
    without = panels.paths_text(view(under_way={"g1>g2": 3}), 60).splitlines()[1].split()
    assert without == ["g1>g2", "1", "1.5M", "3", "-", "-"]
    path = PathStatus(
        source="g1", tier="g2", waiting=7, waiting_max=9, transfers=0, transfers_max=9, blocks=0, in_doubt=0,
        blocks_max=9, started=1, dropped={"evicted": 2, "full": 1},
    )  # fmt: skip
    status = Status(
        instance="i", namespace="", epoch=1, n=1, acked_n=1, tiers=[], requests=0, transfers=0, paths=[path]
    )
    shown = view(status=status)
    assert panels.paths_text(shown, 60).splitlines()[1].split()[-2:] == ["7", "3"]
    assert "dropped 2 evicted, 1 full" in panels.notice_text(shown, 200)
    assert "corrupt 2" in panels.notice_text(shown, 200)


def test_causes_have_their_share_or_say_why_not():
    causes = MissCauses(
        after_seq=0, until_seq=9, look_ups=4, with_misses=2, asked=9, missed=4, worst=[],
        causes=[CauseShare(cause="not_admitted", look_ups=1, blocks=3, tokens=None, share=0.75)],
    )  # fmt: skip
    assert panels.causes_text(causes, "", 40).startswith("not admitted     75%       3 ███")
    assert panels.causes_text(None, "the log is long", 40) == "not known: the log is long"
    nothing = MissCauses(after_seq=0, until_seq=9, look_ups=4, with_misses=0, asked=9, missed=0, worst=[], causes=[])
    assert "missed nothing" in panels.causes_text(nothing, "", 40)


def test_workers_are_said_with_when_they_were_heard():
    seen = [
        WorkerSeen(rank=0, holder="worker a", heard_us=8 * SECOND_US),
        WorkerSeen(rank=1, ended=True),
        WorkerSeen(rank=2, holder="process 7"),
    ]
    text = panels.workers_text(view(workers=seen), 200)
    assert "rank 0 worker a, heard 2.0 s ago" in text
    assert "rank 1 told before this screen began, ended" in text
    assert text.endswith("rank 2 process 7")


@pytest.mark.parametrize(
    ("shown", "paused", "word"),
    [
        (None, False, "reading the log"),
        (view(is_ready=False), False, "reading the log"),
        (view(), False, "live"),
        (view(), True, "PAUSED"),
        (view(away="gone", away_since_us=SECOND_US), False, "AWAY for 9.0 s"),
    ],
)
def test_the_head_says_whether_it_is_of_now(shown, paused, word):
    assert word in panels.head_text(shown, "i", ["h", "i"], paused=paused, width=80)


@pytest.mark.parametrize(("writer", "said"), [("", "g4 to g1"), ("replica-1", "g4 of replica-1 to g1")])
def test_a_transfer_says_whose_objects_it_reads(writer, said):
    move = Move(instance="i", transfer="1.2", source="g4", tier="g1", blocks=3, writer=writer)
    assert f"path      {said}\n" in move_text(move, 0)
