"""Work that a thread gives to a stream, and waits for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from kvbm_kernels.driver import Driver
from kvbm_kernels.errors import CudaFailed


@contextmanager
def through(driver: Driver, stream: int, over: int, after: int) -> Iterator[None]:
    """What is given to the stream within begins after an event (0 for none), and is over behind it, whatever became of it.

    `over` is an event that is recorded behind the work, and waited for. Raises CudaFailed.
    """
    try:
        if after:
            driver.order_after(stream, after)
        yield
        driver.record(over, stream)
        driver.await_event(over)
    except CudaFailed:
        with suppress(CudaFailed):  # told already; what began before it must have ended
            driver.await_stream(stream)
        raise
