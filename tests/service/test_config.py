"""What `kvbm serve` is told, from files and flags."""

import pytest

from kvbm_events.schema import TIERS
from kvbm_events.schema.errors import InvalidCommand
from kvbm_nats.service.config import InstanceConfig, ServeConfig, load_config

SMALLEST = '[[instances]]\nname = "a"\nnamespace = "m"\ntiers = "g1=8"\n'


def read(tmp_path, text):
    (tmp_path / "serve.toml").write_text(text)
    return load_config(tmp_path / "serve.toml")


def test_the_smallest_file(tmp_path):
    config = read(tmp_path, SMALLEST)
    assert (config.url, config.lease_s) == ("nats://127.0.0.1:4222", 30.0)
    assert config.instances[0].keep == TIERS
    assert [spec.capacity for spec in config.instances[0].specs()] == [8]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "missing required field `instances`"),
        ("instances = []", "length >= 1"),
        ("instances = 3", r"Expected `array`, got `int` - at `\$.instances`"),
        ("[[instances]", "no configuration of a service"),
        (SMALLEST + 'policy = "lru"\n', "unknown field `policy`"),
        (SMALLEST.replace('"m"', '""'), r"at `\$.instances\[0\].namespace`"),
        (SMALLEST.replace("g1=8", "g7=8"), "'g7=8' is no tier"),
        (SMALLEST.replace('"a"', '"a.b"'), "cannot name an instance"),
        (SMALLEST + SMALLEST, "one name stands twice"),
        ("lease_s = 0.5\n" + SMALLEST, r">= 1.0 - at `\$.lease_s`"),
        (SMALLEST * 65, "length <= 64"),
        (SMALLEST + "options = { batch_max = 300 }\n", "transfers of 300 blocks.*no more than its path"),
    ],
)
def test_a_file_that_is_wrong_says_where(tmp_path, text, named):
    with pytest.raises(InvalidCommand, match=named):
        read(tmp_path, text)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InvalidCommand, match=r"none\.toml is no configuration"):
        load_config(tmp_path / "none.toml")


def test_what_was_not_read_from_a_file_is_checked_too():
    with pytest.raises(InvalidCommand, match="lease_s"):
        ServeConfig(instances=[InstanceConfig(name="a", namespace="m", tiers="g1=8")], lease_s=0).check()
