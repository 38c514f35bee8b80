"""Keys of blocks with a LoRA adapter have its weights in them; where those are not to be known there are none."""

import os
from types import SimpleNamespace

import pytest

from kvbm_nats.connectors.vllm.adapters import Adapters
from kvbm_nats.connectors.vllm.tracked import Tracked

HASHES = [bytes([at]) * 32 for at in range(1, 4)]


def write(folder, weights=b"some", alpha=16, name="adapter_model.safetensors"):
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(f'{{"lora_alpha": {alpha}}}')
    (folder / name).write_bytes(weights)
    return folder


def digest(folder, adapters=None):
    return (adapters or Adapters()).digest(SimpleNamespace(lora_name="a", lora_path=str(folder)))


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "a")


def test_a_request_without_an_adapter_has_nothing_in_its_keys():
    assert Adapters().digest(None) == b""


def test_the_same_files_in_another_folder_are_the_same(folder, tmp_path):
    (folder / "README.md").write_text("what else lies there is nothing that vLLM reads")
    assert digest(folder) == digest(write(tmp_path / "b"))


@pytest.mark.parametrize("other", [{"weights": b"sone"}, {"alpha": 32}, {"name": "adapter_model.bin"}])
def test_other_weights_or_another_scale_are_not(folder, tmp_path, other):
    assert digest(folder) != digest(write(tmp_path / "b", **other))


def test_a_folder_is_read_once(folder, monkeypatch):
    adapters = Adapters()
    known = digest(folder, adapters)
    monkeypatch.setattr("kvbm_nats.connectors.vllm.adapters._digest", lambda _files: pytest.fail("it was read again"))
    assert digest(folder, adapters) == known


def test_files_that_were_only_touched_are_the_same(folder):
    adapters = Adapters()
    known = digest(folder, adapters)
    os.utime(folder / "adapter_config.json", ns=(0, 0))
    assert digest(folder, adapters) == known


def test_weights_that_change_while_the_engine_runs_are_not_known_any_more(folder):
    """Not even when they change back: what vLLM has read meanwhile nobody can say."""
    adapters = Adapters()
    known = digest(folder, adapters)
    write(folder, weights=b"sone")
    assert digest(folder, adapters) is None
    write(folder)
    assert digest(folder, adapters) is None
    assert digest(folder) == known


def test_new_weights_of_the_same_size_and_age_are_noticed(folder):
    adapters = Adapters()
    file = folder / "adapter_model.safetensors"
    age = file.stat().st_mtime_ns
    digest(folder, adapters)
    file.write_bytes(b"sone")
    os.utime(file, ns=(age, age))
    assert digest(folder, adapters) is None


@pytest.mark.parametrize("path", ["organization/adapter", "/nowhere"])
def test_what_is_no_folder_here_is_not_known(path):
    """A name in a hub: what vLLM has of it may be another revision than what is here."""
    assert digest(path) is None


def test_keys_differ_by_adapter_and_by_group():
    request = SimpleNamespace(request_id="a", block_hashes=HASHES)
    tracked = [Tracked(request, adapter) for adapter in (b"", b"one", b"other")]
    keys = [each.keys(group) for each in tracked for group in (0, 1)]
    assert keys[0] == [each[:16].hex() for each in HASHES]
    assert len({key for each in keys for key in each}) == 6 * len(HASHES)


def test_keys_of_an_adapter_grow_with_the_prompt():
    request = SimpleNamespace(request_id="a", block_hashes=HASHES[:1])
    tracked = Tracked(request, b"one")
    first = list(tracked.keys())
    request.block_hashes = HASHES
    assert tracked.keys()[:1] == first
    assert len(tracked.keys()) == len(HASHES)


def test_a_request_of_unknown_weights_has_no_keys_and_loads_nothing():
    tracked = Tracked(SimpleNamespace(request_id="a", block_hashes=HASHES), None)
    assert (tracked.keys(), tracked.keys(1), tracked.may_load) == ([], [], False)
