"""What objects are called, whose they are, and what is known of them when a bucket is opened again."""

import json
import sys

import pytest

from kvbm_events.schema.errors import InvalidCommand
from kvbm_tiers import Layout, Medium, preset
from kvbm_tiers.errors import ObstoreUnavailable, StoreDamaged, StoreUnavailable
from kvbm_tiers.memory import anonymous
from kvbm_tiers.objects import Names, Place, find_blocks, open_client
from kvbm_tiers.slicing import Slice
from support.movers import key_of, open_bucket
from support.object_servers import BUCKET, SECRET

TINY = preset("tiny")
KEY = "0123456789abcdef" * 2


def names(*, prefix="a/b", namespace="m=1", layout=TINY, instance="one"):
    return Names.of(prefix, namespace, layout, instance)


def of_rank(rank, ranks):
    return TINY.slice(Slice.of_rank(rank, ranks))


def test_a_name_has_what_must_agree_then_the_block_then_its_writer():
    name = names(layout=of_rank(1, 2)).of_block(KEY)
    prefix, fingerprint, rest = name[:4], name[4:36], name[36:]
    assert prefix == "a/b/"
    assert set(fingerprint) <= set("0123456789abcdef")
    assert rest == f"/1of2/{KEY}/one"


def test_a_name_is_for_ever():
    assert names().of_block(KEY) == f"a/b/0193d27fc14e9312183e3db2a89fbf0a/0of1/{KEY}/one"


@pytest.mark.parametrize(
    "other",
    [
        {"namespace": "m=2"},
        {"layout": Layout(groups=TINY.groups[:2])},
        {"layout": of_rank(1, 2)},
        {"layout": of_rank(0, 2)},
        {"prefix": "a"},
        {"prefix": ""},
    ],
    ids=str,
)
def test_what_cannot_be_read_as_ours_has_another_folder(other):
    assert names(**other).folder != names().folder


def test_engines_of_one_namespace_find_each_others_copies_by_the_key():
    mine, theirs = names(), names(instance="two")
    assert mine.of_block(KEY) != theirs.of_block(KEY)
    assert mine.parse(theirs.of_block(KEY)) == (KEY, "two")


@pytest.mark.parametrize("rest", ["one.json", KEY, f"{KEY}/", f"{KEY}/one/more", f"{KEY[1:]}/one", "x" * 32 + "/one"])
def test_what_is_no_block_is_told(rest):
    assert names().parse(f"{names().folder}/{rest}") is None


@pytest.mark.parametrize("prefix", ["a//b", "a/../b", "./a", "x" * 1000])
def test_a_prefix_that_cannot_be_is_refused(prefix):
    with pytest.raises(InvalidCommand, match="prefix"):
        names(prefix=prefix)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("s3:///prefix", "it names no bucket"),
        (f"s3://id:{SECRET}@bucket/prefix", "it has a name or a password in it"),
        (f"s3://bucket?endpoint=http://id:{SECRET}@host", "it has a name or a password in it"),
        (f"s3://bucket?secret_access_key={SECRET}", "s3 has no option secret_access_key"),
        ("s3://bucket?endpoint=127.0.0.1:9000", "an endpoint begins with http"),
        ("s3://bucket?timeout_s=soon", "timeout_s"),
        ("s3://bucket?timeout_s=0", "above 0"),
        ("s3://bucket?via=pigeon", "via"),
        ("s3://bucket?requests=0", "requests are 1 to 1024"),
        ("az://container?addressing=odd", "addressing"),
    ],
)
def test_a_url_that_is_no_bucket_is_refused_and_its_secrets_are_not_told(url, why):
    with pytest.raises(InvalidCommand, match=why) as refused:
        Place.of(Medium.parse(url))
    assert SECRET not in str(refused.value)


def test_only_g4_lies_in_object_storage(s3):
    with pytest.raises(InvalidCommand, match="only g4's"):
        open_bucket(s3.url(), TINY, tier="g3")


def test_a_new_one_is_reset_and_the_next_finds_what_was_there(s3):
    first = open_bucket(s3.url("p"), TINY)
    assert (first.opening.state, first.opening.why) == ("reset", "it is new")
    first.close()
    second = open_bucket(s3.url("p"), TINY)
    assert second.opening.state == "kept"
    assert second.opening.incarnation == first.opening.incarnation
    second.close()


@pytest.mark.parametrize(
    ("more", "why"), [({"capacity": 63}, "its capacity was 64 and is 63"), ({"reset": True}, "a reset was asked for")]
)
def test_one_of_another_size_or_asked_to_be_reset_starts_empty(s3, more, why):
    first = open_bucket(s3.url("p"), TINY)
    first.close()
    second = open_bucket(s3.url("p"), TINY, **more)
    assert (second.opening.state, second.opening.why) == ("reset", why)
    assert second.opening.incarnation != first.opening.incarnation
    second.close()


def test_its_sidecar_says_what_is_there_and_nothing_that_opens_it(s3):
    bucket = open_bucket(s3.url("p"), TINY)
    said = s3.bucket.get(bucket.blocks.names.sidecar)
    assert json.loads(said)["namespace"] == "m=1"
    assert SECRET.encode() not in said
    bucket.close()


def test_a_damaged_sidecar_is_named(s3):
    bucket = open_bucket(s3.url("p"), TINY)
    bucket.close()
    s3.bucket.put(bucket.blocks.names.sidecar, b"{")
    with pytest.raises(StoreDamaged, match="cannot be read"):
        open_bucket(s3.url("p"), TINY)


def test_a_bucket_that_is_not_there_is_named(s3):
    with pytest.raises(StoreUnavailable, match="no such bucket"):
        open_bucket(s3.url("p").replace(BUCKET, "other"), TINY)
    s3.kill()
    with pytest.raises(StoreUnavailable, match="no connection"):
        open_bucket(s3.url("p"), TINY)


def test_without_obstore_it_says_how_to_install_it(s3, monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(ObstoreUnavailable, match=r"kvbm-nats\[object\]"):
        open_client(Place.of(Medium.parse(s3.url())))


def test_a_slot_of_which_nobody_has_said_what_is_in_it_is_not_read(s3):
    bucket = open_bucket(s3.url(), TINY)
    with pytest.raises(Exception, match="nobody has said"):
        bucket.read(3, anonymous(TINY.slot_bytes))
    bucket.close()


@pytest.mark.parametrize("kind", ["s3", "az"])
def test_objects_are_listed_page_by_page_and_deleted_whether_they_are_there_or_not(object_servers, tmp_path, kind):
    bucket = open_bucket(object_servers.url(kind, tmp_path.name), TINY, capacity=2000)
    other = open_bucket(object_servers.url(kind, tmp_path.name), TINY, instance="other")
    count, block = 1100 if kind == "s3" else 40, anonymous(TINY.slot_bytes)
    bucket.assign(range(count), [key_of(slot) for slot in range(count)])
    other.assign([0], [key_of(0)])
    for slot in range(count):
        bucket.write(slot, block)
    other.write(0, block)
    assert sorted(key for key, _, _ in bucket.blocks.listed()) == [key_of(slot) for slot in range(count)]
    assert {size for _, size, _ in bucket.blocks.listed()} == {TINY.block_bytes}
    bucket.blocks.delete([key_of(slot) for slot in range(1, count, 2)])
    bucket.blocks.delete([key_of(slot) for slot in range(count)])
    assert list(bucket.blocks.listed()) == []
    assert [key for key, _, _ in other.blocks.listed()] == [key_of(0)]
    bucket.close()
    other.close()


@pytest.mark.parametrize("kind", ["s3", "az"])
def test_an_instances_blocks_are_found_by_its_name(object_servers, tmp_path, kind):
    place = Place.of(Medium.parse(object_servers.url(kind, tmp_path.name)))
    assert list(find_blocks(place, "test")) == []
    bucket = open_bucket(object_servers.url(kind, tmp_path.name), TINY)
    open_bucket(object_servers.url(kind, tmp_path.name), TINY, namespace="m=2", instance="other").close()
    ((blocks, sidecar),) = find_blocks(place, "test")
    assert blocks.names == bucket.blocks.names
    assert sidecar.incarnation == bucket.opening.incarnation
    bucket.close()


@pytest.mark.parametrize("kind", ["s3", "az"])
def test_what_is_gone_is_told_by_every_kind_of_store(object_servers, tmp_path, kind):
    bucket = open_bucket(object_servers.url(kind, tmp_path.name), TINY)
    bucket.assign([0], [KEY])
    with pytest.raises(Exception, match=r"^gone: no such object$"):
        bucket.read(0, anonymous(TINY.slot_bytes))
    bucket.close()
