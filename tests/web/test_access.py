"""Who may read: this machine by its own names, others with a token; and what every answer forbids."""

from __future__ import annotations

import asyncio

import pytest
from starlette.testclient import TestClient

from kvbm_events.schema.errors import InvalidCommand
from kvbm_nats.web.app import make_app
from kvbm_nats.web.guards import COOKIE
from kvbm_nats.web.options import WebOptions

TOKEN = "correct horse battery staple"  # noqa: S105 - it opens what tests make
HTML = {"accept": "text/html"}


def client(projection, base="http://10.0.0.7:4280", **options):
    app = make_app(WebOptions(projection=projection, **options), asyncio.Event())
    return TestClient(app, base_url=base, follow_redirects=False)


@pytest.fixture
def guarded(projection):
    with client(projection, host="0.0.0.0", token=TOKEN) as opened:  # noqa: S104 - nothing listens here
        yield opened


@pytest.mark.parametrize("host", ["0.0.0.0", "10.1.2.3", "::", "kv.example"])  # noqa: S104 - it is refused
def test_others_are_not_served_without_a_token(host):
    with pytest.raises(InvalidCommand, match="KVBM_WEB_TOKEN"):
        WebOptions(projection="", host=host).check()
    WebOptions(projection="", host=host, token=TOKEN).check()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "localhost", "::1"])
def test_this_machine_needs_none(host):
    WebOptions(projection="", host=host).check()


def test_a_short_token_is_refused():
    with pytest.raises(InvalidCommand, match="can be guessed"):
        WebOptions(projection="", token="s" * 15).check()


@pytest.mark.parametrize(
    "path", ["/", "/index.json", "/i/busy", "/i/busy/stream", "/i/busy/what-if?policy=arc", "/nope"]
)
def test_nothing_is_said_without_the_token(guarded, path):
    for headers in (
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": f"Basic {TOKEN}"},
        {"cookie": f"{COOKIE}={TOKEN}"},
    ):
        answer = guarded.get(path, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert "busy" not in answer.text


def test_the_token_opens_everything(guarded):
    headers = {"authorization": f"Bearer {TOKEN}"}
    assert guarded.get("/", headers=headers).status_code == 200
    assert guarded.get("/index.json", headers=headers).json()


def test_a_browser_is_led_to_the_form_and_back(guarded):
    led = guarded.get("/i/busy/misses?limit=5", headers=HTML)
    assert (led.status_code, led.headers["location"]) == (303, "/login?next=%2Fi%2Fbusy%2Fmisses%3Flimit%3D5")
    assert 'name="token"' in guarded.get(led.headers["location"]).text
    wrong = guarded.post("/login", data={"token": "wrong", "next": "/"})
    assert (wrong.status_code, "set-cookie" in wrong.headers) == (401, False)
    right = guarded.post("/login", data={"token": TOKEN, "next": "/i/busy/misses?limit=5"})
    assert (right.status_code, right.headers["location"]) == (303, "/i/busy/misses?limit=5")
    cookie = right.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert TOKEN not in cookie
    assert guarded.get("/", headers=HTML).status_code == 200


def test_the_cookie_is_for_https_only_where_the_page_is(projection):
    with client(projection, "https://kv.example", host="0.0.0.0", token=TOKEN) as opened:  # noqa: S104 - nothing listens here
        assert "Secure" in opened.post("/login", data={"token": TOKEN}).headers["set-cookie"]


@pytest.mark.parametrize("there", ["//evil.example", "https://evil.example", "/\\evil.example", "evil", "/a\r\nX: y"])
def test_the_form_sends_nobody_elsewhere(guarded, there):
    answer = guarded.post("/login", data={"token": TOKEN, "next": there})
    assert answer.headers["location"] == "/"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:4280", "127.0.0.1.evil.example", "", "[::2]"])
def test_a_page_elsewhere_that_points_here_gets_nothing(pages, host):
    for path in ("/", "/index.json", "/static/page.js", "/login"):
        answer = pages.get(path, headers={"host": host})
        assert answer.status_code == 421
        assert "busy" not in answer.text


@pytest.mark.parametrize("host", ["localhost:4280", "127.0.0.1", "[::1]:4280", "LOCALHOST"])
def test_this_machine_has_several_names(pages, host):
    assert pages.get("/", headers={"host": host}).status_code == 200


def test_a_proxys_name_is_allowed_when_it_is_given(projection):
    with client(projection, "http://kv.example", allowed_hosts=("KV.example",)) as opened:
        assert opened.get("/").status_code == 200
        assert opened.get("/", headers={"host": "other.example"}).status_code == 421


@pytest.mark.parametrize("path", ["/", "/index.json", "/nope", "/static/style.css", "/login", "/i/busy/misses?limit=x"])
def test_headers_of_every_answer(pages, path):
    headers = pages.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "*" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["cache-control"] == "no-store"
    assert "server" not in headers


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("path", ["/", "/index.json", "/i/busy", "/i/busy/what-if"])
def test_nothing_can_be_changed(pages, method, path):
    assert pages.request(method, path).status_code == 405


def test_files_of_ours_only(pages):
    assert pages.get("/static/../app.py").status_code == 404
    assert pages.get("/static/%2e%2e/app.py").status_code == 404
    assert pages.get("/static/").status_code == 404
