"""vLLM's OpenAI server, as users start it: with the connector, and without one but with the bridge beside it."""

import json
import random
import secrets
import time

import pytest

from kvbm_events.schema import TierSpec
from kvbm_nats.bridge import Bridge, Feed
from support.engine_server import EngineServer, free_port
from support.engines import BLOCK_TOKENS, transfer_config

TURNS = 4
TIMEOUT_S = 60.0


def words_of(seed, count):
    dice = random.Random(seed)
    return " ".join(f"w{dice.randrange(10, 4000)}" for _ in range(count))


def conversation(server, between=lambda: None):
    """Several turns, each with all that was said before; the answers, and how many tokens of each prompt were cached."""
    messages, said, cached = [], [], []
    for turn in range(TURNS):
        messages.append({"role": "user", "content": words_of(turn, 200)})
        answer = server.chat(messages)
        said.append(answer["choices"][0]["message"]["content"])
        cached.append((answer["usage"].get("prompt_tokens_details") or {}).get("cached_tokens") or 0)
        messages.append({"role": "assistant", "content": said[-1]})
        between()
    return said, cached


def emptied(server):
    """Once copies are over, vLLM's own cache can be emptied, and only ours is left."""
    end = time.monotonic() + TIMEOUT_S
    while True:
        server.reset()
        usage = [value for name, value in server.metrics().items() if name.startswith("vllm:kv_cache_usage_perc")]
        if usage == [0.0] or time.monotonic() > end:
            return
        time.sleep(0.1)


@pytest.fixture(scope="module")
def watched(model, nats_url, tmp_path_factory):
    """A server without a connector that publishes its events, followed by a bridge: what was said, what the bridge knows."""
    ports = free_port(), free_port()
    events = {"enable_kv_cache_events": True, "publisher": "zmq"}
    events |= {"endpoint": f"tcp://*:{ports[0]}", "replay_endpoint": f"tcp://*:{ports[1]}"}
    log = tmp_path_factory.mktemp("server") / "log"
    tiers = [TierSpec(tier="g1", capacity=1 << 15, control="observed")]
    instance = f"e-{secrets.token_hex(4)}"
    arguments = ["--kv-events-config", json.dumps(events), "--enable-prompt-tokens-details"]
    with (
        EngineServer(model, log, *arguments) as server,
        Feed(f"tcp://127.0.0.1:{ports[0]}", replay_url=f"tcp://127.0.0.1:{ports[1]}") as feed,
        Bridge(feed, nats_url, instance, namespace="n=1", tiers=tiers) as bridge,
    ):
        said, cached = conversation(server)
        end = time.monotonic() + TIMEOUT_S
        index = bridge.manager.state.tiers["g1"].lineage.index
        wanted = (TURNS * 200 + (TURNS - 1) * 16) // BLOCK_TOKENS
        while len(index) < wanted and time.monotonic() < end:
            bridge.run_once(0.2)
        yield said, cached, bridge, set(index)


def test_the_bridge_knows_what_a_server_without_us_has_cached(watched):
    _, _, bridge, keys = watched
    assert len(keys) >= (TURNS * 200 + (TURNS - 1) * 16) // BLOCK_TOKENS
    assert bridge.breaks == 0
    assert not bridge.manager.check_integrity()


def test_a_conversation_is_served_from_the_host(watched, model, nats_url, tmp_path):
    """After every turn vLLM's own cache is emptied; the next turn finds all of the conversation in ours."""
    said = watched[0]
    config = transfer_config(nats_url, f"e-{secrets.token_hex(4)}", tmp_path)
    arguments = ["--kv-transfer-config", json.dumps(config), "--enable-prompt-tokens-details"]
    with EngineServer(model, tmp_path / "log", *arguments) as server:
        answers, cached = conversation(server, between=lambda: emptied(server))
        metrics = server.metrics()
    assert answers == said
    assert cached[0] == 0
    assert all(count >= (turn * 200) // BLOCK_TOKENS * BLOCK_TOKENS for turn, count in enumerate(cached))
    moved = [
        v for name, v in metrics.items() if name.startswith("vllm:kvbm_moved_blocks_total") and 'tier="g1"' in name
    ]
    assert moved
    assert moved[0] >= sum(cached) // BLOCK_TOKENS - TURNS
