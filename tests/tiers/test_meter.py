"""What a meter counts of what another mover moves."""

import pytest

from kvbm_tiers import Job, MemoryMover, Meter, Report


class Held(MemoryMover):
    """Gives its reports one by one."""

    def poll(self):
        return [self._reports.pop(0)] if self._reports else []


class Clock:
    now_s = 10.0

    def __call__(self):
        return self.now_s


def job(transfer, source="g1", tier="g2", slots=(0, 1)):
    keys = ["ab" * 16] * len(slots)
    return Job(
        transfer=transfer, source=source, tier=tier, source_slots=slots, slots=slots, keys=keys, deadline_us=1 << 60
    )


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def meter(clock):
    return Meter(Held({"g1": 8, "g2": 8}, block_bytes=1000), now_s=clock)


def test_blocks_and_bytes_by_path_and_how_long_it_was_busy(meter, clock):
    meter.submit(job("1.1"))
    meter.submit(job("1.2", slots=(2, 3, 4)))
    clock.now_s += 2
    assert len(meter.poll()) == 1
    assert meter.traffic["g1", "g2"].busy_s == 0, "the second one is under way"
    clock.now_s += 1
    meter.poll()
    traffic = meter.traffic["g1", "g2"]
    assert (traffic.blocks, traffic.size_bytes, traffic.busy_s, traffic.failed) == (5, 5000, 3, 0)
    assert traffic.gb_per_s == pytest.approx(5000 / 3 / 1e9)
    meter.submit(job("1.3", source="g2", tier="g1"))
    clock.now_s += 4
    meter.poll()
    assert meter.traffic["g2", "g1"].busy_s == 4
    assert meter.traffic["g1", "g2"].busy_s == 3


def test_what_failed_is_counted_once_and_is_no_traffic(meter):
    meter.submit(job("1.1"))
    meter._mover._reports[:] = [
        Report(transfer="1.1", slots=[0], reason="deadline passed", stopped=False),
        Report(transfer="1.1", slots=[1], length_bytes=1000, checksums="0" * 16),
        Report(transfer="1.1", slots=[0], reason="deadline passed"),
    ]
    while meter.poll():
        pass
    traffic = meter.traffic["g1", "g2"]
    assert (traffic.blocks, traffic.failed, traffic.size_bytes) == (1, 1, 1000)


def test_an_idle_path_has_no_speed(meter):
    meter.submit(job("1.1"))
    assert meter.traffic["g1", "g2"].gb_per_s == 0
