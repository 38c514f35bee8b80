"""Where a tier's blocks lie, as people write it."""

import pytest

from kvbm_events.schema import TierSpec
from kvbm_events.schema.errors import InvalidCommand
from kvbm_tiers import Medium, Stack, parse_media, preset


def test_a_url_says_kind_place_and_options():
    assert parse_media(["g3=slab:/mnt/nvme", "g4=s3://bucket/a/b?region=eu&scheme=http"]) == {
        "g3": Medium(scheme="slab", path="/mnt/nvme"),
        "g4": Medium(scheme="s3", host="bucket", path="/a/b", options={"region": "eu", "scheme": "http"}),
    }


@pytest.mark.parametrize(
    ("stores", "why"),
    [
        (["g5=slab:/mnt"], "a store is TIER=URL"),
        (["slab:/mnt"], "a store is TIER=URL"),
        (["g3="], "a store is TIER=URL"),
        (["g3=/mnt"], "a store is SCHEME:PLACE"),
        (["g3=slab:/mnt?a=1&a=2"], "each option once"),
        (["g3=slab:/mnt?a"], "bad query field"),
        (["g3=slab://[/mnt"], "Invalid IPv6"),
        (["g3=slab:/mnt", "g3=slab:/srv"], "each tier once"),
    ],
)
def test_what_is_no_store_is_refused(stores, why):
    with pytest.raises(InvalidCommand, match=why):
        parse_media(stores)


@pytest.mark.parametrize(
    ("store", "why"),
    [
        ("g2=tape:/dev/st0", "there is no such medium"),
        ("g2=arena:", "it names no folder"),
        ("g2=slab://host/path", "it names no folder"),
        ("g2=slab:/mnt?direct=1", "slab has no option direct"),
    ],
)
def test_what_cannot_be_opened_is_refused_before_anything_is_made(store, why):
    with pytest.raises(InvalidCommand, match=why):
        Stack([TierSpec(tier="g2", capacity=4)], preset("tiny"), "n=1", parse_media([store]))


def test_any_tier_can_lie_in_any_medium(tmp_path):
    media = parse_media([f"g2=slab:{tmp_path}", f"g3=arena:{tmp_path}"])
    plan = [TierSpec(tier="g2", capacity=4), TierSpec(tier="g3", capacity=8)]
    with Stack(plan, preset("tiny"), "n=1", media):
        assert {each.name for each in tmp_path.iterdir()} >= {"g2.slab", "g3.arena"}
