"""Which way is the fastest for a layout on this machine: measured when a mover starts, and logged."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import get_args

import structlog

from kvbm_kernels.driver import Driver
from kvbm_tiers.cuda.device import CudaDevice
from kvbm_tiers.cuda.lane import Lane, Way, Ways
from kvbm_tiers.layout import Layout
from kvbm_tiers.memory import address_of, anonymous

_logger = structlog.get_logger(__name__)
BLOCKS = 8
ROUNDS = 5
KERNEL_GAIN_MIN = 1.1
"""A way in which a kernel reads host memory must be so much faster: it holds multiprocessors for as long as the link takes."""


def calibrate(driver: Driver, layout: Layout, *, now_s: Callable[[], float] = time.perf_counter) -> Ways:
    """Measure every way down and up, on memory of its own. Raises CudaFailed if the device has no room for that."""
    device = CudaDevice(driver, layout, BLOCKS)
    memory = anonymous(BLOCKS * layout.slot_bytes)
    host = address_of(memory)
    driver.pin(host, len(memory))
    try:
        lane = Lane(device.pool, BLOCKS)
        try:
            blocks = [host + at * layout.slot_bytes for at in range(BLOCKS)]
            down = _measure(device, lambda way: lane.down(range(BLOCKS), blocks, way), now_s)
            up = _measure(device, lambda way: lane.up(range(BLOCKS), blocks, way), now_s)
        finally:
            lane.close()
    finally:
        driver.unpin(host)
        device.close()
    ways = Ways(down=fastest(down), up=fastest(up))
    _logger.info(
        "blocks go between device and host by the fastest way",
        device=driver.name,
        pieces=device.pool.pieces,
        down=ways.down,
        up=ways.up,
        down_gb_per_s={way: round(rate, 2) for way, rate in down.items()},
        up_gb_per_s={way: round(rate, 2) for way, rate in up.items()},
    )
    return ways


def fastest(rates: dict[Way, float]) -> Way:
    """The way of the highest rate, in GB/s; one that leaves the link to the copy engines if it is nearly as fast."""
    handicap = {"mapped": KERNEL_GAIN_MIN}
    return max(rates, key=lambda way: rates[way] / handicap.get(way, 1.0))


def _measure(device: CudaDevice, go: Callable[[Way], None], now_s: Callable[[], float]) -> dict[Way, float]:
    rates: dict[Way, float] = {}
    ways: tuple[Way, ...] = get_args(Way)
    for way in ways:
        if way == "copies" and not device.pool.is_plain:
            continue
        go(way)  # the first time, the driver makes things ready
        times = list[float]()
        for _ in range(ROUNDS):
            started = now_s()
            go(way)
            times.append(now_s() - started)
        rates[way] = BLOCKS * device.layout.block_bytes / max(median(times), 1e-9) / 1e9
    return rates
