"""What is written in `secondary_tiers`, and the memory that vLLM hands over, are understood or refused by name."""

import pytest

from kvbm_events.schema.errors import InvalidCommand
from kvbm_nats.connectors.vllm.config import TierConfig, read_config
from kvbm_tiers import HostRows
from kvbm_tiers.memory import anonymous
from support.vllm_host import ROW_BYTES, ROWS

GOOD = {"instance": "replica-0", "tiers": "g3=65536,g4=100:on_evict", "stores": {"g3": "slab:/mnt", "g4": "s3://b"}}


@pytest.mark.parametrize("shape", [(ROWS * ROW_BYTES,), (ROWS * 2, ROW_BYTES // 2)])
def test_host_memory_of_another_shape_is_refused(shape):
    with pytest.raises(InvalidCommand, match=r"host memory of shape"):
        HostRows(anonymous(ROW_BYTES * ROWS).cast("B", shape))


def test_a_good_configuration():
    config = read_config(TierConfig, GOOD | {"locality": "LOCAL", "reset_evicts": True}, replica="-dp1")
    assert (config.instance, [spec.tier for spec in config.plan]) == ("replica-0-dp1", ["g3", "g4"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"reset_evict": True}, "no field 'reset_evict'.*did you mean 'reset_evicts'"),
        ({"tiers": "g2=8,g3=65536"}, "g2 is vLLM's own primary tier.*name g3 and g4 only"),
        ({"tiers": "g3=65536:selective", "stores": {"g3": "slab:/mnt"}}, "g3 takes some blocks only"),
        ({"tiers": "g3=65536:priority/60", "stores": {"g3": "slab:/mnt"}}, "g3 takes some blocks only"),
        ({"tiers": "g3=9"}, "g4 is in stores only"),
        ({"locality": "HERE"}, "Invalid enum value 'HERE' - at `\\$.locality`"),
        ({"reset_evicts": "yes"}, "Expected `bool`, got `str` - at `\\$.reset_evicts`"),
    ],
)
def test_a_bad_one_is_refused_by_name(change, said):
    with pytest.raises(InvalidCommand, match=said) as error:
        read_config(TierConfig, GOOD | change)
    assert "secondary_tiers" in str(error.value)
