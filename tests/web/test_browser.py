"""The pages in a real browser: Chromium without a window, over a real server's log."""

from __future__ import annotations

import pytest

from kvbm_nats.nats_server import NatsServer
from web.browser import chromium, missing, resize, wait_for
from web.server import Engine, Web, keys_of

pytestmark = [
    pytest.mark.skipif(bool(missing()), reason=f"NOT TESTED: pages in a browser: {missing()}"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # selenium leaves its driver's pipes to the collector
]
INSTANCE = "live"
LONG = "a-request-with-a-long-name-" * 6


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A running page, and the engine behind it."""
    with NatsServer(tmp_path_factory.mktemp("nats") / "server") as server, Engine(server.url, INSTANCE) as engine:
        for number in range(20):
            engine.ask(f"req-{number}")
        engine.ask(LONG)
        engine.manager.flush()
        with Web("--nats-url", server.url) as web:
            yield web.url, engine


@pytest.fixture(scope="module")
def browser():
    with chromium() as driver:
        yield driver


@pytest.fixture
def page(browser, site):
    """Open a view; at the end, nobody complained on the console."""
    resize(browser, 1440)
    browser.get_log("browser")

    def go(path):
        browser.get(site[0] + path)
        return browser

    yield go
    assert browser.get_log("browser") == []


def text_of(driver, selector):
    return driver.execute_script("return document.querySelector(arguments[0]).textContent", selector)


def slide(driver, value):
    """As a hand does: the slider moves, and is let go."""
    driver.execute_script(
        """const slider = document.querySelector("input[type=range]"); slider.value = arguments[0];
        for (const name of ["input", "change"]) slider.dispatchEvent(new Event(name, {bubbles: true}));""",
        value,
    )


def moment(driver):
    return text_of(driver, "[data-live-part=moment]")


def test_the_slider_changes_url_and_page_and_back_goes_back(page):
    driver = page(f"/i/{INSTANCE}")
    assert "live" in moment(driver)
    slide(driver, 9)
    wait_for(driver, lambda each: "as of sequence 9," in moment(each))
    assert driver.current_url.endswith(f"/i/{INSTANCE}?at=9")
    assert "--at 9" in text_of(driver, ".command code")
    assert text_of(driver, "[data-events] a") == "9"
    at_nine = text_of(driver, "[data-live-part=tiers]")
    slide(driver, 5)
    wait_for(driver, lambda each: "as of sequence 5," in moment(each))
    assert text_of(driver, "[data-live-part=tiers]") != at_nine
    driver.back()
    wait_for(driver, lambda each: "as of sequence 9," in moment(each))
    assert text_of(driver, "[data-live-part=tiers]") == at_nine
    driver.find_element("css selector", "[data-now]").click()
    wait_for(driver, lambda each: "live" in moment(each))
    assert driver.current_url.endswith(f"/i/{INSTANCE}")


def test_the_slider_moves_by_keyboard(page):
    from selenium.webdriver.common.keys import Keys  # noqa: PLC0415 - an extra of its own

    driver = page(f"/i/{INSTANCE}?at=12")
    driver.find_element("css selector", "input[type=range]").send_keys(Keys.ARROW_LEFT)
    wait_for(driver, lambda each: each.current_url.endswith("?at=11"))
    wait_for(driver, lambda each: "as of sequence 11," in moment(each))


def test_what_comes_appears_by_itself(page, site):
    driver = page(f"/i/{INSTANCE}")
    before = moment(driver)
    site[1].ask("<img src=x onerror=alert(1)>")
    wait_for(driver, lambda each: "<img src=x onerror=alert(1)> let go" in text_of(each, "[data-events]"))
    wait_for(driver, lambda each: moment(each) != before)
    assert driver.execute_script("return document.querySelectorAll('[data-events] img').length") == 0
    assert driver.execute_script("return document.querySelector('input[type=range]').max") == text_of(
        driver, "[data-events] a"
    ).replace(",", "")


def test_the_past_stands_still(page, site):
    driver = page(f"/i/{INSTANCE}?at=9")
    site[1].ask("later")
    site[1].manager.flush()
    slide(driver, 8)
    wait_for(driver, lambda each: "as of sequence 8," in moment(each))
    assert "later" not in text_of(driver, "[data-events]")


def test_the_command_is_copied(page, site):
    driver = page(f"/i/{INSTANCE}/requests/req-3")
    driver.execute_cdp_cmd("Browser.grantPermissions", {"permissions": ["clipboardReadWrite"], "origin": site[0]})
    button = driver.find_elements("css selector", "[data-copy]")[1]
    button.click()
    wait_for(driver, lambda _: button.text == "Copied")
    copied = driver.execute_async_script("const [done] = arguments; navigator.clipboard.readText().then(done, done)")
    assert copied == button.get_attribute("data-copy")
    assert copied.startswith(f"kvbm why-miss req-3 --instance {INSTANCE} --nats-url nats://127.0.0.1:")
    assert "copied" in text_of(driver, "[data-status]")


PATHS = [
    "/",
    f"/i/{INSTANCE}",
    f"/i/{INSTANCE}?at=9",
    f"/i/{INSTANCE}/events",
    f"/i/{INSTANCE}/requests",
    f"/i/{INSTANCE}/requests/{LONG}",
    f"/i/{INSTANCE}/blocks/{keys_of(3)[0][:12]}",
    f"/i/{INSTANCE}/misses",
    f"/i/{INSTANCE}/diff?a=1",
    f"/i/{INSTANCE}/what-if?policy=arc&capacity_g1=2x",
]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_no_page_is_wider_than_its_window(page, browser, width, scheme):
    for path in PATHS:
        resize(browser, width, scheme=scheme)
        driver = page(path)
        wide = driver.execute_script("return document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, path
        paper = driver.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, paper[4:-1].split(","))) < 3 * 128) == (scheme == "dark")


def test_all_can_be_reached_by_keyboard_and_is_named(page):
    for path in PATHS:
        driver = page(path)
        nameless = driver.execute_script(
            """return [...document.querySelectorAll("a, button, input:not([type=hidden]), select, summary")].filter((each) =>
            !each.textContent.trim() && !each.ariaLabel && !each.labels?.length && !each.closest("svg")).map((each) => each.outerHTML)"""
        )
        assert nameless == [], path
        assert driver.execute_script("return document.querySelectorAll('h1').length") == 1
        pictures = driver.execute_script(
            """return [...document.querySelectorAll("svg")].filter((each) => !each.ariaLabel && each.ariaHidden !== "true").length"""
        )
        assert pictures == 0, path
    from selenium.webdriver.common.keys import Keys  # noqa: PLC0415 - an extra of its own

    driver.find_element("css selector", "body").send_keys(Keys.TAB)
    assert driver.execute_script("return document.activeElement.className") == "skip"


def test_text_can_be_told_from_its_ground(page, browser):
    for scheme in ("light", "dark"):
        resize(browser, 1440, scheme=scheme)
        driver = page(f"/i/{INSTANCE}")
        ratios = driver.execute_script(
            """const light = (text) => { const [r, g, b] = text.match(/[\\d.]+/g).map((each) => each / 255)
                .map((each) => each <= .03928 ? each / 12.92 : ((each + .055) / 1.055) ** 2.4);
                return .2126 * r + .7152 * g + .0722 * b; };
            const ground = light(getComputedStyle(document.body).backgroundColor);
            return [".dim", "h1", "a", ".moment"].map((each) => light(getComputedStyle(document.querySelector(`main ${each}`)).color))
                .map((each) => (Math.max(each, ground) + .05) / (Math.min(each, ground) + .05));"""
        )
        assert min(ratios) >= 4.5, scheme
