"""What is written in `kv_connector_extra_config` is understood, or refused by name, before anything is opened."""

from types import SimpleNamespace

import pytest

from kvbm_events.schema.errors import InvalidCommand
from kvbm_nats.connectors.vllm.config import ConnectorConfig, read_config
from kvbm_nats.connectors.vllm.namespace import namespace_of

GOOD = {
    "instance": "replica-0",
    "tiers": "g2=4096,g3=65536:arc",
    "stores": {"g2": "arena:/dev/shm/kvbm", "g3": "slab:/mnt/nvme"},
}


def test_a_good_one():
    config = read_config(ConnectorConfig, GOOD, replica="-dp1")
    assert config.instance == "replica-0-dp1"
    assert [(spec.tier, spec.capacity, spec.policy) for spec in config.plan][1] == ("g3", 65536, "arc")
    assert str(config.media(0, 1)["g3"]) == "slab:/mnt/nvme/replica-0-dp1"
    assert str(config.media(3, 4)["g2"]) == "arena:/dev/shm/kvbm/replica-0-dp1.3"


@pytest.mark.parametrize(("given", "meant"), [("*", ["*"]), (["replica-1", "b-*"], ["replica-1", "b-*"]), ([], [])])
def test_peers_are_one_pattern_or_several_names(given, meant):
    objects = {"tiers": "g2=4096,g4=65536", "stores": {"g2": "arena:/dev/shm/kvbm", "g4": "s3://bucket/kv"}}
    assert read_config(ConnectorConfig, GOOD | objects | {"peers": given}).following == meant


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"instanze": "x"}, "no field 'instanze'.*did you mean 'instance'"),
        ({"wholly": "other"}, "no field 'wholly'.*it has instance, tiers"),
        ({"instance": None}, "Expected `str`, got `null` - at `\\$.instance`"),
        ({"instance": "a b"}, "'a b'"),
        ({"tiers": "g2"}, "'g2' is no tier"),
        ({"tiers": "g2=4096:mru"}, "'mru' in 'g2=4096:mru'"),
        ({"tiers": "g1=10,g2=4096,g3=1"}, "g1 is vLLM's own"),
        ({"tiers": "g2=4096:observed,g3=1"}, "g2 is observed"),
        ({"tiers": "g2=4096"}, "g3 is in stores only"),
        ({"stores": {"g2": "arena:/dev/shm"}}, "g3 is in tiers only"),
        ({"stores": {"g2": "/ram", "g3": "slab:/mnt"}}, "store '/ram'.*a store is SCHEME:PLACE"),
        ({"stores": ["g2=arena:/dev/shm"]}, "Expected `object`, got `array` - at `\\$.stores`"),
        ({"stores": {"g9": "arena:/dev/shm"}}, "Invalid enum value 'g9'"),
        ({"patience_s": 0}, "Expected `float` > 0.0 - at `\\$.patience_s`"),
        ({"transfer_timeout_s": "long"}, "Expected `float`, got `str` - at `\\$.transfer_timeout_s`"),
        ({"snapshot_every": -1}, "snapshot_every"),
        ({"peers": ["replica-1"]}, "peers without a g4.*read from object storage"),
        ({"peers": ["replica-0"]}, "that is this instance itself"),
        ({"peers": "replica/*"}, "a pattern has letters"),
        ({"peers": 1}, "got `int` - at `\\$.peers`"),
    ],
)
def test_a_bad_one_is_refused_by_name(change, said):
    with pytest.raises(InvalidCommand, match=said) as error:
        read_config(ConnectorConfig, GOOD | change)
    assert "kv_connector_extra_config" in str(error.value)


@pytest.mark.parametrize("missing", GOOD)
def test_what_is_missing_is_named(missing):
    with pytest.raises(InvalidCommand, match=f"missing required field `{missing}`"):
        read_config(ConnectorConfig, {name: value for name, value in GOOD.items() if name != missing})


def engine(**changes):
    """A configuration of vLLM, as far as a namespace is made of it."""
    model = {"model": "/models/a=b;c", "revision": None, "dtype": "torch.bfloat16", "quantization": None}
    cache = {"cache_dtype": "auto", "block_size": 32, "prefix_caching_hash_algo": "sha256"}
    parallel = {"tensor_parallel_size": 2, "pipeline_parallel_size": 1}
    parts = [{name: changes.get(name, value) for name, value in part.items()} for part in (model, cache, parallel)]
    names = ("model_config", "cache_config", "parallel_config")
    return SimpleNamespace(**{name: SimpleNamespace(**part) for name, part in zip(names, parts, strict=True)})


def test_a_namespace_says_what_must_agree(monkeypatch):
    monkeypatch.delenv("PYTHONHASHSEED", raising=False)
    said = namespace_of(engine(), "v2")
    assert said == "model=/models/a:b,c;dtype=bfloat16;kv=auto;block=32;tp=2;pp=1;hash=sha256;tag=v2"
    assert namespace_of(engine(block_size=16), "v2") != said
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    assert "seed=0" in namespace_of(engine(), "")


def test_hashes_with_a_random_seed_are_refused(monkeypatch):
    monkeypatch.delenv("PYTHONHASHSEED", raising=False)
    with pytest.raises(InvalidCommand, match=r"random in every process.*PYTHONHASHSEED"):
        namespace_of(engine(prefix_caching_hash_algo="xxhash_cbor"), "")
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    assert "hash=xxhash_cbor;seed=7" in namespace_of(engine(prefix_caching_hash_algo="xxhash_cbor"), "")
