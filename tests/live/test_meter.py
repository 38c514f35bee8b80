"""Events in, figures out: what is counted, when an interval ends, and what the past looks like."""

import pytest

from kvbm_nats.live import Meter, PathFlow, TierFlow
from kvbm_nats.live.meter import Owners, past_samples
from live.happened import SECOND_US, Happened


@pytest.fixture
def happened():
    return Happened()


@pytest.fixture
def meter():
    return Meter(0)


def test_an_interval_counts_what_came_in_it_and_nothing_else(meter, happened):
    meter.take(happened.matched("a", 10, g1=4, g2=2))
    meter.take(happened.registered(4, existing=1))
    meter.take(happened.evicted(2, "capacity"))
    meter.take(happened.evicted(1, "corrupt", tier="g2"))
    first = meter.sample(2 * SECOND_US)
    assert (first.events, first.look_ups, first.asked, first.found) == (4, 1, 10, {"g1": 4, "g2": 2})
    assert first.hit_ratio == pytest.approx(0.6)
    assert first.tiers == {"g1": TierFlow(came=3, left=2), "g2": TierFlow(left=1)}
    assert first.evicted == {"capacity": 2, "corrupt": 1}
    assert first.per_s(first.asked) == pytest.approx(5)
    second = meter.sample(3 * SECOND_US)
    assert (second.events, second.hit_ratio, second.tiers, second.evicted) == (0, None, {}, {})
    assert second.interval_s == pytest.approx(1)


def test_a_look_up_that_found_nothing_is_a_ratio_of_none_found(meter, happened):
    meter.take(happened.matched("a", 3))
    assert meter.sample(SECOND_US).hit_ratio == 0


def test_a_transfer_is_of_its_path_and_counts_where_it_ends(meter, happened):
    meter.take(happened.started("1.1", 4))
    began = meter.sample(SECOND_US)
    assert (began.in_flight, began.paths) == (1, [])
    meter.take(happened.completed("1.1", 3))
    meter.take(happened.failed("1.1", 1))
    ended = meter.sample(2 * SECOND_US)
    assert ended.in_flight == 0
    assert ended.paths == [PathFlow(source="g1", tier="g2", transfers=1, blocks=3, size_bytes=30, failed=1)]
    assert ended.tiers == {"g2": TierFlow(came=3)}
    assert ended.moved_bytes == 30


def test_a_clock_that_was_set_back_makes_no_negative_rate(meter):
    meter.sample(5 * SECOND_US)
    assert meter.sample(SECOND_US).interval_s > 0


def test_what_services_say_stands_beside_what_the_log_says(meter, happened):
    meter.take(happened.matched("a", 1))
    owners = Owners(instances=frozenset({"j"}), waiting=7, dropped={"gone": 2}, unstored=3, lag=1)
    sample = meter.sample(SECOND_US, owners)
    assert (sample.waiting, sample.dropped, sample.unstored, sample.lag) == (7, {"gone": 2}, 3, 1)
    assert sample.instances == ["i", "j"]
    assert meter.sample(2 * SECOND_US).waiting is None


def test_the_newest_look_ups_are_known(meter, happened):
    for number in range(300):
        meter.take(happened.matched(f"r{number}", 5, g1=2))
    assert [meter.look_ups[0].request, meter.look_ups[-1].request] == ["r44", "r299"]
    assert meter.look_ups[-1].missed == 3


def test_the_past_is_told_by_the_times_of_its_events(happened):
    meter, events = Meter(0), []
    for at_s, asked in ((0.5, 1), (10.2, 2), (10.9, 4), (12.1, 8)):
        happened.at_s = at_s
        events.append(happened.matched("r", asked))
    samples = past_samples(meter, events, from_us=10 * SECOND_US, to_us=14 * SECOND_US, every_us=SECOND_US)
    assert [sample.asked for sample in samples] == [6, 0, 8, 0]
    assert [sample.at_us // SECOND_US for sample in samples] == [11, 12, 13, 14]
    assert len(meter.look_ups) == 4
    assert meter.sample(15 * SECOND_US).asked == 0


def test_events_of_a_clock_that_is_ahead_end_the_past_and_no_more(happened):
    happened.at_s = 1e6
    samples = past_samples(Meter(0), [happened.matched("r", 1)], from_us=0, to_us=3 * SECOND_US, every_us=SECOND_US)
    assert [sample.asked for sample in samples] == [0, 0, 0]
