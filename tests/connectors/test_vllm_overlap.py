"""Steps that overlap: vLLM decides on the next one while workers compute, and shares blocks that are not computed yet."""

import time

import pytest

from kvbm_events.schema import to_runs
from kvbm_nats.connectors.vllm.orders import Told
from kvbm_tiers.reports import Reported
from support.stepped_engine import BLOCK_TOKENS, CHECKSUM, TIMEOUT_S, Engine, load, stored

IDS = [3, 4, 5, 6, 7]


@pytest.fixture
def engine():
    engine = Engine(ranks=2)
    yield engine
    engine.side.close()


def admitted(engine, name, computed=0, **more):
    """A request that vLLM has given blocks to; so many tokens of it are in its own cache."""
    request = engine.request(name, **more)
    assert engine.side.found(request, computed) == 0
    request.num_computed_tokens = computed
    engine.side.admitted(request, (IDS,), 0)
    return request


def test_blocks_that_a_request_shares_with_another_of_its_step_are_not_there_yet(engine):
    """VLLM counts them as computed when it has decided to compute them: no copy may begin with that step."""
    first, second = admitted(engine, "a"), admitted(engine, "b", 4 * BLOCK_TOKENS)
    engine.step((first, IDS), (second, IDS), new=[first, second])
    assert not engine.g1
    first.num_computed_tokens = second.num_computed_tokens = 4 * BLOCK_TOKENS + 1
    engine.step((first, IDS), (second, IDS))
    assert sorted(engine.g1.values()) == [3, 4, 5, 6]


def test_a_block_is_copied_with_a_step_behind_the_one_that_fills_it_though_neither_is_over(engine):
    """A prompt in pieces of a block each. A worker does its steps in order, so that much is enough at every stage."""
    request, taken, read = admitted(engine, "a"), [], list[int]()
    for filled in range(5):
        orders = engine.step((request, IDS), new=[request] if not filled else ())
        request.num_computed_tokens += BLOCK_TOKENS
        taken.append(orders)
        read += [slot for job in orders.jobs for slot in job.source_slots]
        assert set(read) <= set(IDS[:filled])
        engine.manager.flush()
    assert sorted(engine.g1.values()) == IDS[:4]
    for orders in taken:
        engine.obey(orders)
    engine.settle()
    assert len(engine.manager.state.tiers["g2"].lineage.index) == 4


def test_a_load_is_over_when_the_last_stage_has_said_so(engine):
    """The first stage is a step ahead; both say how their slices went with a step of their own."""
    stored(engine)
    load(engine, engine.request("b"), [9, 8, 7, 10, 11])
    end = time.monotonic() + TIMEOUT_S
    while not (orders := engine.step()).jobs:
        assert time.monotonic() < end
    for rank in range(2):
        assert not engine.step().verdicts
        reports = [
            Reported(
                incarnation="w",
                transfer=job.transfer,
                slots=to_runs(job.slots),
                length_bytes=8,
                checksums=CHECKSUM * len(job.slots),
            )
            for job in orders.jobs
        ]
        engine.side.heard([Told(rank=rank, reports=reports)], (), ())
    assert engine.step().verdicts == {"b": []}


def test_a_request_whose_adapter_is_not_known_is_computed_and_leaves_nothing(engine):
    stored(engine)
    request = admitted(engine, "b", adapter=None)
    engine.step((request, IDS), new=[request])
    request.num_computed_tokens = 4 * BLOCK_TOKENS
    engine.step((request, IDS))
    engine.side.finished(request, (IDS,))
    assert not engine.g1
    assert not engine.manager.state.requests
    assert not engine.manager.check_integrity()
