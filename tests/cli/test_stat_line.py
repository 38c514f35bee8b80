"""A line of `kvbm stat`: short figures, columns that fit, and what is not known."""

import pytest

from kvbm_nats.cli.stat_line import columns_of, fitting, header, line, short
from kvbm_nats.live import PathFlow, Sample, TierFlow

TIERS = ["g1", "g2", "g3"]
PATHS = [("g1", "g2"), ("g2", "g1"), ("g2", "g3"), ("g3", "g1")]
SAMPLE = Sample(
    at_us=0,
    interval_s=2.0,
    look_ups=10,
    asked=8,
    hit_ratio=0.25,
    tiers={"g1": TierFlow(came=30_000, left=3)},
    evicted={"capacity": 4, "corrupt": 1, "gone": 1, "ttl": 6},
    paths=[PathFlow(source="g1", tier="g2", transfers=6, blocks=9, size_bytes=5_000_000)],
    in_flight=2,
    waiting=5,
    lag=1,
)


def shown(sample, columns, *, is_short=False):
    return dict(zip(header(columns).split(), line(sample, columns, is_short=is_short).split(), strict=True))


@pytest.mark.parametrize(
    ("figure", "text"),
    [
        (0, "0"),
        (0.42, "0.4"),
        (7, "7"),
        (37.4, "37"),
        (999.4, "999"),
        (1234, "1.2k"),
        (31_500, "32k"),
        (4.56e6, "4.6M"),
    ],
)
def test_a_short_figure_has_four_characters(figure, text):
    assert short(figure) == text
    assert len(text) <= 4


def test_a_pipe_gets_every_column_as_a_plain_number_a_second():
    row = shown(SAMPLE, columns_of(TIERS, PATHS))
    assert (row["hit%"], row["looks"], row["g1in"], row["g1out"]) == ("25", "5", "15000", "1.50")
    assert (row["room"], row["lost"], row["told"]) == ("2", "1", "3")
    assert (row["g1>g2"], row["g1>g2B"], row["B"], row["g3>g1B"]) == ("3", "2500000", "2500000", "0")
    assert (row["fly"], row["wait"], row["lag"]) == ("2", "5", "1")


def test_what_nobody_can_say_is_no_figure():
    row = shown(SAMPLE, columns_of(TIERS, PATHS))
    assert (row["drop"], row["unack"]) == ("-", "-")
    away = shown(Sample(at_us=0, interval_s=1.0, away="gone"), columns_of(TIERS, PATHS))
    assert set(away.values()) - {away["time"]} == {"-"}


@pytest.mark.parametrize("tiers", [["g1"], ["g1", "g2"], TIERS, ["g1", "g2", "g3", "g4"]], ids=len)
@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
def test_a_line_fits_and_the_most_important_columns_stay(tiers, width):
    paths = [path for path in PATHS if set(path) <= set(tiers)]
    columns = fitting(columns_of(tiers, paths), width)
    busy = Sample(
        at_us=0, interval_s=1.0, hit_ratio=1.0, look_ups=12_345, tiers=dict.fromkeys(tiers, TierFlow(came=123_456))
    )
    assert len(header(columns)) <= width
    assert len(line(busy, columns, is_short=True)) == len(header(columns))
    assert {"hit%", "looks"} <= {column.name for column in columns}
    if width >= 200:
        assert header(columns) == header(columns_of(tiers, paths))
