"""What can be wrong with the files of an instance, each found by its name, and what a repair makes of it."""

import json
import os

import msgspec
import pytest

from fsck.conftest import LAYOUT, NAMESPACE, PROMPTS, tier_of
from kvbm_events.codec import decode
from kvbm_events.jetstream import JetStreamLog
from kvbm_events.schema import Evicted
from kvbm_nats.fsck import Report
from kvbm_tiers import DiskSlab, HostArena
from support.samples import read_all

BLOCKS = 20


def counts(tier):
    return {name: tier[name] for name in ("registered", "proven", "corrupt", "unproven", "holes", "changed")}


async def evictions(site):
    log = await JetStreamLog.connect(site.url)
    try:
        events = [decode(entry.data) for entry in await read_all(log, site.instance)]
    finally:
        await log.close()
    return [event for event in events if isinstance(event, Evicted) and event.actor == "fsck"]


def test_all_is_as_the_log_says(site):
    code, report, _ = site.fsck()
    assert code == 0
    assert report["sound"]
    for name, capacity in (("g2", 32), ("g3", 64)):
        tier = tier_of(report, name)
        assert counts(tier) == {
            "registered": BLOCKS, "proven": BLOCKS, "corrupt": 0, "unproven": 0, "holes": 0, "changed": 0,
        }  # fmt: skip
        assert (tier["capacity"], tier["size_bytes"]) == (capacity, BLOCKS * LAYOUT.slot_bytes)
        assert [file["flaw"] for file in tier["files"]] == [""]
    assert tier_of(report, "g1")["unchecked"] == "it is memory that no file keeps"
    assert report["leftovers"] == []


async def test_blocks_with_other_bytes_are_named_and_a_repair_evicts_them_and_no_others(site):
    site.damage("g3.slab", 3, 7)
    code, report, _ = site.fsck()
    assert code == 1
    tier = tier_of(report, "g3")
    assert (tier["corrupt"], tier["proven"], sorted(block["slot"] for block in tier["blocks"])) == (2, 18, [3, 7])
    assert tier_of(report, "g2")["proven"] == BLOCKS
    assert await evictions(site) == []
    code, repaired, _ = site.fsck("--repair")
    assert code == 1
    gone = await evictions(site)
    assert {(event.tier, event.reason) for event in gone} == {("g3", "corrupt")}
    assert repaired["repaired"] == {"g3": sum(len(event.keys) // 32 for event in gone)}
    code, report, _ = site.fsck()
    assert code == 0
    left = tier_of(report, "g3")["registered"]
    assert left == BLOCKS - repaired["repaired"]["g3"] >= 10, "what stood on them went too, and nothing else"
    with site.owner() as owner:
        for keys in PROMPTS:
            owner.match("r", keys)
            assert owner.wait([owner.onboard("r", keys, source="g2")])
            site.content.check(owner.resident(keys), keys)
            owner.release("r")
        assert (site.content.verified, site.content.wrong) == (BLOCKS, [])


def flip_sidecar(site, **fields):
    path = site.folder / "g3.slab.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def remake(site):
    """Somebody deleted both, and a worker made them anew."""
    for name in ("g3.slab", "g3.slab.json"):
        (site.folder / name).unlink()
    DiskSlab(site.folder / "g3.slab", namespace=NAMESPACE, layout=LAYOUT, capacity=64).close()


DAMAGES = {
    "the file is gone": (lambda site: (site.folder / "g3.slab").unlink(), "it is missing"),
    "the file is cut": (lambda site: os.truncate(site.folder / "g3.slab", 999), "it has 999 of 262144 bytes"),
    "the sidecar is gone": (lambda site: (site.folder / "g3.slab.json").unlink(), "its sidecar is missing"),
    "the sidecar is damaged": (
        lambda site: (site.folder / "g3.slab.json").write_text("{"),
        "its sidecar cannot be read",
    ),
    "another model's": (lambda site: flip_sidecar(site, namespace="model=n"), "its namespace is 'model=n'"),
    "another size": (lambda site: flip_sidecar(site, capacity=65), "it has 65 slots, and the log's tier 64"),
    "another file": (lambda site: flip_sidecar(site, incarnation="f" * 16), "it was reset, or is another file"),
    "it was reset": (remake, "it was reset, or is another file"),
}


@pytest.mark.parametrize(("damage", "flaw"), DAMAGES.values(), ids=DAMAGES)
async def test_blocks_that_are_nowhere(site, damage, flaw):
    damage(site)
    code, report, _ = site.fsck("--repair")
    assert code == 1
    tier = tier_of(report, "g3")
    assert flaw in tier["files"][0]["flaw"]
    assert (tier["holes"], tier["proven"], tier["corrupt"]) == (BLOCKS, 0, 0)
    assert report["repaired"] == {"g3": BLOCKS}
    assert {(event.tier, event.reason) for event in await evictions(site)} == {("g3", "reset")}
    code, report, _ = site.fsck()
    assert (code, tier_of(report, "g3")["registered"], tier_of(report, "g2")["proven"]) == (0, 0, BLOCKS)


def test_files_that_are_no_tiers_are_left_over(site):
    HostArena(site.folder / "g4.arena", namespace=NAMESPACE, layout=LAYOUT, capacity=2).close()
    (site.folder / "g3.slab.json.new").touch()
    (site.folder / "notes.txt").touch()
    code, report, _ = site.fsck()
    assert code == 1
    assert [path.rpartition("/")[2] for path in report["leftovers"]] == [
        "g3.slab.json.new",
        "g4.arena",
        "g4.arena.json",
    ]


def test_blocks_of_which_nobody_knows_a_checksum_are_no_fault(site):
    with site.owner() as owner:
        keys = [f"{number:032x}" for number in range(3)]
        owner.register("direct", owner.allocate("direct", 3, tier="g3"), keys, tier="g3")
    code, report, _ = site.fsck()
    assert (code, tier_of(report, "g3")["unproven"], tier_of(report, "g3")["proven"]) == (0, 3, BLOCKS)


def test_a_slab_named_by_itself_and_a_tier_of_a_kind_that_nothing_reads(site):
    code, report, _ = site.fsck(f"--store=g3=slab:{site.folder}", folder=False)
    assert (code, tier_of(report, "g3")["proven"]) == (0, BLOCKS)
    code, report, _ = site.fsck("--store=g2=s3://bucket")
    assert (code, len(report["leftovers"])) == (1, 2), "the arena, and what tells of it"
    assert tier_of(report, "g3")["proven"] == BLOCKS
    assert tier_of(report, "g2")["unchecked"] == "nothing reads s3"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "nothing says where blocks lie"),
        (("--folder=a", "--folder=b", "--store=g3=slab:/x"), "of several ranks each has files of its own"),
        (("--folder=a", "--threads=0"), "1 to 256"),
        (("--folder=a",), "its log is empty"),
    ],
)
def test_what_cannot_be_checked_is_trouble(site, options, said):
    site.instance += "-other"
    code, report, complaint = site.fsck(*options, folder=False)
    assert (code, report) == (2, None)
    assert said in complaint


def test_the_report_is_as_its_schema_says(site, request):
    written = json.loads((request.config.rootpath / "docs" / "schemas" / "fsck.json").read_text())
    _, report, _ = site.fsck()
    assert msgspec.convert(report, Report, strict=True).sound
    fields = written["$defs"]["Report"]["properties"]
    assert list(report) == list(fields)
    assert list(report["tiers"][0]) == list(written["$defs"]["TierReport"]["properties"])
