"""Which level a status gives: each limit from both sides, and what no figure tells."""

import pytest
from msgspec import structs

from kvbm_events.log import LogInfo
from kvbm_events.schema.errors import InvalidCommand
from kvbm_nats.check import Finding, Limits, Report, Value
from kvbm_nats.check.limits import Limit
from kvbm_nats.check.log import look_at_log
from kvbm_nats.check.owner import look_at_status
from kvbm_nats.cli.check_formats import as_nagios
from kvbm_nats.status import PathStatus, PeerStatus, Status, TierStatus, WorkerStatus

TIER = TierStatus(
    tier="g1",
    capacity=100,
    policy="lru",
    control="owned",
    free=50,
    allocated=0,
    registered=50,
    condemned=0,
    quarantined=0,
    evictable=50,
)
WORKER = WorkerStatus(rank=0, incarnation="a", silent_s=0.1)
PATH = PathStatus(
    source="g1", tier="g2", waiting=0, waiting_max=100, transfers=0, transfers_max=16, blocks=0, in_doubt=0,
    blocks_max=256, started=0,
)  # fmt: skip
PEER = PeerStatus(
    name="p", is_named=True, namespace="n", blocks=7, passed_over=0, seq=9, end_seq=9, is_current=True, trouble=""
)
PATTERN = structs.replace(PEER, is_named=False)
STATUS = Status(
    instance="i", namespace="n", epoch=1, n=10, acked_n=10, tiers=[TIER], requests=0, transfers=0, paths=[PATH],
    workers=[WORKER], peers=[PEER],
)  # fmt: skip


def level(name, **changes):
    findings = {each.name: each for each in look_at_status(structs.replace(STATUS, **changes), Limits())}
    return findings[name].level


def tier(**changes):
    return [structs.replace(TIER, **changes)]


@pytest.mark.parametrize(
    ("name", "changes", "expected"),
    [
        ("unwritten", {"n": 10_009}, "ok"),
        ("unwritten", {"n": 10_010}, "warning"),
        ("unwritten", {"n": 50_010}, "critical"),
        ("quarantine", {"tiers": tier(quarantined=1)}, "warning"),
        ("quarantine", {"tiers": tier(quarantined=256)}, "critical"),
        ("tiers", {"tiers": tier(free=0, evictable=64)}, "ok"),
        ("tiers", {"tiers": tier(free=0, evictable=11)}, "ok"),
        ("tiers", {"tiers": tier(free=0, evictable=5)}, "warning"),
        ("tiers", {"tiers": tier(free=0, evictable=0)}, "critical"),
        ("tiers", {"tiers": tier(free=20, evictable=0)}, "ok"),
        ("tiers", {"tiers": tier(free=0, evictable=None, control="observed")}, "ok"),
        ("waiting", {"paths": [structs.replace(PATH, waiting=49)]}, "ok"),
        ("waiting", {"paths": [structs.replace(PATH, waiting=50)]}, "warning"),
        ("waiting", {"paths": [structs.replace(PATH, waiting=95)]}, "critical"),
        ("workers", {}, "ok"),
        ("workers", {"workers": [structs.replace(WORKER, silent_s=5.0)]}, "warning"),
        ("workers", {"workers": [structs.replace(WORKER, silent_s=10.0)]}, "critical"),
        ("workers", {"workers": [structs.replace(WORKER, incarnation="")]}, "critical"),
        ("workers", {"workers": [structs.replace(WORKER, ended=True)]}, "critical"),
        ("workers", {"workers": [structs.replace(WORKER, refused="another namespace")]}, "warning"),
        ("peers", {}, "ok"),
        ("peers", {"peers": [structs.replace(PEER, trouble="the log was trimmed")]}, "warning"),
        ("peers", {"peers": [structs.replace(PEER, is_current=False, end_seq=99)]}, "warning"),
        ("peers", {"peers": [structs.replace(PEER, is_current=False, seq=0, end_seq=0)]}, "warning"),
        ("peers", {"peers": [structs.replace(PEER, passed_over=1)]}, "warning"),
        ("peers", {"peers": [structs.replace(PEER, namespace="m")]}, "warning"),
        ("peers", {"peers": [structs.replace(PATTERN, namespace="m")]}, "ok"),
        ("peers", {"peers": [structs.replace(PATTERN, namespace="", trouble="of another version")]}, "warning"),
    ],
)
def test_a_status_gives_a_level(name, changes, expected):
    assert level(name, **changes) == expected


def test_of_what_there_is_none_nothing_is_said():
    found = {each.name for each in look_at_status(structs.replace(STATUS, peers=[], workers=[]), Limits())}
    assert found.isdisjoint({"peers", "workers"})


@pytest.mark.parametrize(
    ("size", "durable", "warning", "expected"),
    [
        (79, True, "", ("ok", "ok")),
        (80, True, "", ("warning", "ok")),
        (95, False, "the stream is kept in memory: it ends with the server", ("critical", "warning")),
    ],
)
def test_a_log_gives_a_level(size, durable, warning, expected):
    info = LogInfo(first_seq=1, last_seq=9, size_bytes=size, bytes_max=100, durable=durable, warning=warning)
    assert tuple(each.level for each in look_at_log(info, Limits())) == expected


def test_a_log_without_a_limit_is_never_full():
    info = LogInfo(first_seq=1, last_seq=9, size_bytes=1 << 50, bytes_max=0, durable=True)
    assert look_at_log(info, Limits())[0].level == "ok"


def test_a_report_is_as_bad_as_its_worst_finding():
    def report(*levels):
        return Report.of("i", [Finding(name="x", level=level, what="") for level in levels]).level

    assert report() == report("ok") == "ok"
    assert report("ok", "unknown") == "unknown"
    assert report("unknown", "warning") == "warning"
    assert report("critical", "unknown", "warning") == "critical"


def test_words_cannot_become_figures_of_the_monitor():
    value = Value(of="g1 to g2", value=0.5, unit="s", warning=1, critical=2)
    line = as_nagios(Report.of("i", [Finding(name="x", level="warning", what="a | b\x1b[31m", values=[value])]))
    assert line.splitlines() == [
        "KVBM WARNING - i: x: a / b\\x1b[31m | 'x g1 to g2'=0.5s;1;2",
        "[warning] x: a / b\\x1b[31m",
    ]


@pytest.mark.parametrize("limit", [Limit(2, 1), Limit(-1, 1), Limit(float("nan"), 1)])
def test_a_limit_that_cannot_be_is_refused(limit):
    with pytest.raises(InvalidCommand, match="--lag-s"):
        Limits(lag_s=limit).check()
