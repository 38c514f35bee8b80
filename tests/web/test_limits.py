"""Every answer has a limit, and says when it is reached; every error says what, why and what next."""

from __future__ import annotations

import asyncio
import threading

import pytest
from starlette.testclient import TestClient

from kvbm_nats.explain.answers import Cell, TierHeat
from kvbm_nats.explain.heat import CELLS
from kvbm_nats.web import answering, worlds
from kvbm_nats.web.app import make_app
from kvbm_nats.web.drawing import draw_heat
from kvbm_nats.web.options import WebOptions
from kvbm_nats.web.problems import Problem
from kvbm_nats.web.views import block
from web.cache import BUSY
from web.conftest import BASE
from web.reading import Page


@pytest.mark.parametrize(
    ("path", "status", "what"),
    [
        ("/nope", 404, "there is no such page"),
        ("/i/nobody", 404, "there is no instance nobody"),
        (f"/i/{BUSY}?at=99999999", 400, "nothing is known of sequence 99,999,999"),
        (f"/i/{BUSY}?at=soon", 400, "is no moment"),
        (f"/i/{BUSY}?at=0", 400, "has nothing of instance"),
        (f"/i/{BUSY}/blocks/zz", 400, "begins no block key"),
        (f"/i/{BUSY}/blocks/{'0' * 32}", 404, "nothing names a block"),
        (f"/i/{BUSY}/requests/nobody", 404, "nothing names a request nobody"),
        (f"/i/{BUSY}/requests/nobody/why-miss.json", 404, "nothing names a request nobody"),
        (f"/i/{BUSY}/requests?limit=1001", 400, "1001 requests"),
        (f"/i/{BUSY}/requests?order=best", 400, "order="),
        (f"/i/{BUSY}/misses?limit=x", 400, "is no number"),
        (f"/i/{BUSY}/misses?limit=10001", 400, "10,001 look-ups"),
        (f"/i/{BUSY}/events?limit=1001", 400, "1,001 events"),
        (f"/i/{BUSY}/diff?a=yesterday", 400, "is no moment"),
        (f"/i/{BUSY}/what-if?policy=best", 400, "policy 'best'"),
        (f"/i/{BUSY}/what-if?policy=--help;x", 400, "policy="),
        (f"/i/{BUSY}/what-if?capacity_g1=,,", 400, ""),
        (f"/i/{BUSY}/stream?after=x", 400, "is no sequence"),
        (f"/i/{BUSY}/misses?since={'9' * 3000}", 414, "the question is too long"),
    ],
)
def test_what_cannot_be_answered(pages, path, status, what):
    answer = pages.get(path)
    if not what:
        assert answer.status_code in {200, status}
        return
    assert answer.status_code == status
    assert what in (answer.json()["what"] if ".json" in path else Page.of(answer.text).text)


def test_the_first_of_many_are_said_to_be_so(pages, monkeypatch):
    listed = pages.get(f"/i/{BUSY}/requests?limit=7")
    assert "The first 7 of 120 requests" in Page.of(listed.text).text
    key = pages.get(f"/i/{BUSY}/diff.json?a=1").json()["tiers"][0]["arrived_keys"][0]
    events = len(pages.get(f"/i/{BUSY}/blocks/{key}.json").json()["events"])
    monkeypatch.setattr(block, "EVENTS_MAX", 1)
    assert f"The last 1 of {events} events" in Page.of(pages.get(f"/i/{BUSY}/blocks/{key}").text).text
    text = Page.of(pages.get(f"/i/{BUSY}/diff?a=1").text).text
    assert "the first 20 of 300" in text


def test_a_tier_of_any_size_has_so_many_cells(pages):
    page = Page.of(pages.get(f"/i/{BUSY}").text)
    assert "900 slots" in page.text
    assert "a cell is 2 slots" in page.text
    cells = [
        Cell(first=n, slots=1, free=0, allocated=0, registered=1, closed=0, used_us=n, key="ab") for n in range(CELLS)
    ]
    assert len(draw_heat(TierHeat(tier="g1", capacity=CELLS, cell_slots=1, cells=cells), 9, str)) < 120_000


async def test_no_more_questions_wait_than_are_allowed(projection, monkeypatch):
    monkeypatch.setattr(answering, "WAITING_MAX", 0)
    with TestClient(make_app(WebOptions(projection=projection), asyncio.Event()), base_url=BASE) as client:
        answer = client.get("/index.json")
    assert (answer.status_code, answer.json()["what"]) == (503, "too many questions at a time")


def test_a_question_that_takes_too_long_is_given_up(monkeypatch):
    monkeypatch.setattr(worlds, "TIME_S", 0.01)
    with pytest.raises(Problem, match="takes too long for a page"):
        worlds.Worlds().play("--policy=arc", "--projection=nowhere")


def test_one_question_is_played_and_few_wait(monkeypatch):
    begun, go_on = threading.Event(), threading.Event()

    def play(_self, _arguments):
        begun.set()
        go_on.wait(30)
        return b"{}"

    monkeypatch.setattr(worlds.Worlds, "_play", play)
    monkeypatch.setattr(worlds, "TURN_S", 0.01)
    played = worlds.Worlds()
    first = threading.Thread(target=played.play, args=("a",))
    first.start()
    assert begun.wait(30)
    with pytest.raises(Problem, match="others ask what if"):
        played.play("b")
    go_on.set()
    first.join()
    assert played.play("b") == b"{}"


def test_without_a_projection_it_says_so(tmp_path):
    options = WebOptions(projection=str(tmp_path / "none.db"))
    with TestClient(make_app(options, asyncio.Event()), base_url=BASE) as client:
        answer = client.get("/")
    assert answer.status_code == 503
    assert "start a projector" in Page.of(answer.text).text


def test_a_fault_of_ours_is_a_page_too(projection, monkeypatch):
    async def fail(*_):
        raise RuntimeError("secret")

    monkeypatch.setattr(answering.Answering, "_answer", fail)
    app = make_app(WebOptions(projection=projection), asyncio.Event())
    with TestClient(app, base_url=BASE, raise_server_exceptions=False) as client:
        answer = client.get("/")
    assert answer.status_code == 500
    assert "this page failed" in answer.text
    assert "secret" not in answer.text
    assert answer.headers["content-security-policy"]
