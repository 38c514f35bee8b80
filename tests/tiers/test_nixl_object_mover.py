"""The NIXL mover of objects beside what its contract says: who moves the bytes, and what is done once more."""

import os

import pytest
from xxhash import xxh3_64_hexdigest

from kvbm_tiers import Medium, preset
from kvbm_tiers.nixl_agent import ObjectAgent
from kvbm_tiers.nixl_object_mover import nixl_parameters
from kvbm_tiers.objects import ObjectClient, Place
from support.movers import Rig, key_of
from support.object_servers import SECRET
from support.s3_faults import Fault

TINY = preset("tiny")


@pytest.fixture
def open_rig(tmp_path, s3):
    rigs = []

    def open_(path):
        s3.options = {"timeout_s": 2}
        (folder := tmp_path / f"rig{len(rigs)}").mkdir()
        rigs.append(Rig(f"nixl s3 {path}", folder, TINY, servers=s3))
        return rigs[-1]

    yield open_
    for rig in rigs:
        rig.close()


def reasons(reports):
    return {slot: report.reason for report in reports for slot in report.slots}


@pytest.mark.nixl
@pytest.mark.parametrize("path", ["g2-g4", "g4-g2"])
def test_bytes_go_by_nixl_one_object_a_transfer(open_rig, monkeypatch, path):
    """Of several, one that fails ends them all while others still write to our memory."""
    rig, posted = open_rig(path), []
    sums = [xxh3_64_hexdigest(rig.fill(slot)) for slot in range(6)]
    post = ObjectAgent.post

    def count(agent, operation, memory, far):
        posted.append(len(far))
        return post(agent, operation, memory, far)

    monkeypatch.setattr(ObjectAgent, "post", count)
    for call in ("get", "put"):
        monkeypatch.setattr(ObjectClient, call, lambda *_: pytest.fail("not by NIXL"))
    rig.mover.submit(rig.job(range(6), range(6), checksums=sums))
    assert set(reasons(rig.reports(6)).values()) == {""}
    assert posted == [1] * 6


@pytest.mark.nixl
@pytest.mark.parametrize("path", ["g2-g4", "g4-g2"])
def test_what_nixl_fails_at_is_done_once_more(open_rig, s3, path):
    rig = open_rig(path)
    sums = [xxh3_64_hexdigest(rig.fill(slot)) for slot in range(4)]
    name = rig.stores["g4"].blocks.names.of_block(key_of(2))
    s3.set_faults(Fault("status", key=name, value=403, times=1))
    rig.mover.submit(rig.job(range(4), range(4), checksums=sums))
    assert set(reasons(rig.reports(4)).values()) == {""}
    assert sum(name in request for request in s3.requests()) == 2
    assert xxh3_64_hexdigest(rig.get(2)) == sums[2]


@pytest.mark.nixl
def test_a_block_that_ends_in_the_mark_is_read_twice_and_arrives(open_rig, s3):
    rig = open_rig("g4-g2")
    rig.put(0, b"\xff" * TINY.block_bytes)
    s3.set_faults()
    rig.mover.submit(rig.job([0], [0]))
    assert reasons(rig.reports(1)) == {0: ""}
    assert rig.get(0) == b"\xff" * TINY.block_bytes
    assert len(s3.requests()) == 2


@pytest.mark.nixl
def test_a_failure_nobody_waits_for_any_more_is_not_done_once_more(open_rig, s3):
    rig = open_rig("g2-g4")
    rig.fill(0)
    name = rig.stores["g4"].blocks.names.of_block(key_of(0))
    s3.set_faults(Fault("slow", key=name, value=1, times=1), Fault("status", key=name, value=403))
    rig.mover.submit(rig.job([0], [0]))
    s3.wait_request(f"PUT {name}")
    rig.clock.ahead_us = 120_000_000
    rig.reports(1)
    assert s3.requests() == [f"PUT {name}"]
    rig.clock.ahead_us = 0
    s3.set_faults()
    rig.mover.submit(rig.job([0], [0]))
    assert reasons(rig.reports(1)) == {0: ""}, "its name is free again"


def parameters(url):
    return nixl_parameters(Place.of(Medium.parse(url)))


@pytest.mark.usefixtures("object_credentials")
def test_where_a_store_is_and_nothing_that_opens_it():
    backend, told = parameters("s3://bucket/p?endpoint=http://127.0.0.1:9&requests=7")
    assert backend == "OBJ"
    assert told == {
        "bucket": "bucket",
        "region": "us-east-1",
        "endpoint_override": "http://127.0.0.1:9",
        "scheme": "http",
        "use_virtual_addressing": "false",
        "num_threads": "7",
    }
    _, told = parameters("s3://bucket?region=eu-west-1")
    assert (told["region"], told["use_virtual_addressing"]) == ("eu-west-1", "true")
    assert SECRET not in repr(told)


@pytest.mark.usefixtures("object_credentials")
def test_an_azure_account_is_named_or_connected_to(monkeypatch):
    backend, told = parameters("az://box")
    assert backend == "AZURE_BLOB"
    account, key = os.environ["AZURE_STORAGE_ACCOUNT_NAME"], os.environ["AZURE_STORAGE_ACCOUNT_KEY"]
    assert told["connection_string"] == (
        f"DefaultEndpointsProtocol=https;AccountName={account};AccountKey={key};"
        f"BlobEndpoint=https://{account}.blob.core.windows.net;"
    )
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_KEY")
    _, told = parameters("az://box?endpoint=https://blob.test")
    assert (told["account_url"], "connection_string" in told) == ("https://blob.test", False)
