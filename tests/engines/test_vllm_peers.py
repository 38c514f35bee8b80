"""Object hits from another engine: one computes a prompt and ends, another one of another instance says the same from its objects."""

import secrets

import pytest

from kvbm_nats.nats_server import NatsServer
from support.engines import BLOCK_TOKENS, Site, disagreement, prompt, words
from support.object_servers import FakeS3

LONG = prompt(1000, 1)
BLOCKS = len(LONG) // BLOCK_TOKENS
CACHED = BLOCKS * BLOCK_TOKENS
TIERS = "g2=256,g4=512"


class Fleet:
    """A server, an object store, and engines of several instances, one at a time."""

    def __init__(self, model, server, store, folder):
        self._model, self._server, self.store, self._folder = model, server, store, folder
        self.name = f"e-{secrets.token_hex(4)}"

    def site(self, name):
        return Site(self._model, self._server, self._folder / name, f"{self.name}-{name}")

    def extra(self, **more):
        return {"objects": self.store.url("kv")} | more


@pytest.fixture(scope="module")
def fleet(model, tmp_path_factory, object_credentials):  # noqa: ARG001 - the environment is to have them
    folder = tmp_path_factory.mktemp("fleet")
    with NatsServer(folder / "server") as server, FakeS3(folder / "s3") as store:
        yield Fleet(model, server, store, folder)


@pytest.fixture(scope="module")
def answer(alone):
    """Without a connector."""
    return alone(LONG)[0]


@pytest.fixture(scope="module")
def writer(fleet, answer):
    """The name of an instance whose engine has computed the prompt, has put it into its objects, and has ended."""
    with fleet.site("a") as site:
        engine = site.start(tiers=TIERS, extra=fleet.extra())
        assert words(engine.generate([LONG])[0]) == words(answer)
        engine.empty_device()
        assert engine.ask("status")["registered"]["g4"] == BLOCKS
        site.quit()
    return site.instance


@pytest.fixture(scope="module")
def reader(fleet, writer):
    """The engine of another instance, which has computed nothing."""
    with fleet.site("b") as site:
        engine = site.start(tiers=TIERS, extra=fleet.extra(peers="*"))
        assert engine.ask("follow", peer=writer, blocks=BLOCKS)["blocks"] == BLOCKS
        yield site


def test_another_engines_objects_give_the_same_tokens_and_logprobs(reader, answer):
    (said,) = reader.engine.generate([LONG])
    assert (words(said), said["cached"]) == (words(answer), CACHED)
    reader.engine.empty_device()
    status = reader.engine.ask("status")
    assert (status["events"]["Noted"], status["integrity"], status["requests"], status["transfers"]) == (1, [], 0, 0)
    metrics = reader.engine.ask("metrics")
    moved = [value for name, value in metrics.items() if "kvbm_moved_blocks" in name and "('source', 'g4')" in name]
    assert sum(moved) == BLOCKS
    assert reader.verify(status).is_equal


def test_a_damaged_object_is_found_out_and_computed_and_stays_its_writers(reader, writer, fleet, answer):
    assert reader.engine.ask("reset", external=True)["ok"], "what was noted is forgotten, and found again"
    names = [name for name in fleet.store.bucket.names if name.endswith(f"/{writer}")]
    assert len(names) == BLOCKS
    fleet.store.bucket.put(names[20], fleet.store.bucket.get(names[21]))
    said = reader.engine.generate([LONG])[0]
    assert not disagreement(said, answer)
    assert said["tokens"] == answer["tokens"]
    status = reader.engine.ask("status")
    assert status["events"]["OnboardFailed"] >= 1
    assert status["evicted"]["g4"] > BLOCKS
    reader.engine.empty_device()
    assert set(fleet.store.bucket.names) >= set(names), "only its writer deletes"
    assert reader.verify(reader.engine.ask("status")).is_equal


def test_the_tier_below_vllms_own_offload_reads_them_too(fleet, answer):
    below = {"tiers": "g4=512", "stores": {"g4": fleet.store.url("kv")}}
    with fleet.site("below-a") as site:
        engine = site.start_below(**below)
        engine.generate([LONG])
        assert engine.ask("drain")["is_drained"]
        assert engine.ask("status")["registered"]["g4"] == BLOCKS
        site.quit()
    with fleet.site("below-b") as other:
        engine = other.start_below(**below, peers=[site.instance])
        assert engine.ask("follow", peer=site.instance, blocks=BLOCKS)["blocks"] == BLOCKS
        (said,) = engine.generate([LONG])
        assert (words(said), said["cached"]) == (words(answer), CACHED)
        assert engine.ask("drain")["is_drained"]
        status = engine.ask("status")
        assert status["events"]["Noted"] >= 1
        assert other.verify(status).is_equal
