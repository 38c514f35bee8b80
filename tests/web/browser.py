"""Chromium as the system has it, without a window."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

WAIT_S = 20


def missing() -> str:
    """What a machine lacks for these tests; empty if nothing."""
    try:
        import selenium  # noqa: F401, PLC0415 - an extra of its own
    except ImportError:
        return "selenium is not installed (pip install 'kvbm-nats[browser-test]')"
    lacking = [name for name in ("chromium", "chromedriver") if not shutil.which(name)]
    return f"no {' and no '.join(lacking)} on PATH (apt-get install chromium chromium-driver)" if lacking else ""


@contextmanager
def chromium() -> Iterator[Any]:
    """A driver whose browser may reach nothing but loopback, and may write to the clipboard."""
    from selenium import webdriver  # noqa: PLC0415 - an extra of its own
    from selenium.webdriver.chrome.service import Service  # noqa: PLC0415 - the same

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in (
        "--headless=new",
        "--no-sandbox",  # root has none
        "--disable-dev-shm-usage",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, Service(shutil.which("chromedriver") or ""))
    try:
        yield driver
    finally:
        driver.quit()


def wait_for(driver: Any, is_so: Callable[[Any], object]) -> Any:
    """Wait until it is so; the answer."""
    from selenium.webdriver.support.ui import WebDriverWait  # noqa: PLC0415 - an extra of its own

    return WebDriverWait(driver, WAIT_S, poll_frequency=0.05).until(is_so)


def resize(driver: Any, width: int, height: int = 900, scheme: str = "light") -> None:
    """Show the page in a window of that size, to somebody who likes it light or dark."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
