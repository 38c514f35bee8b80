"""Every page says which command gives the same answer; the command does, and the `.json` twin is what it writes."""

from __future__ import annotations

import asyncio

import pytest

from kvbm_nats.cli.app import app
from kvbm_nats.projection import open_projection
from web.cache import BUSY, NOTED, READER
from web.reading import Page, said_by

PAST = 300
PATHS = [
    "/",
    f"/?at={PAST}",
    f"/i/{BUSY}",
    f"/i/{BUSY}?at={PAST}",
    f"/i/{BUSY}/requests",
    f"/i/{BUSY}/requests?order=missed&limit=7",
    f"/i/{BUSY}/requests?containing=1&at={PAST}",
    f"/i/{BUSY}/misses",
    f"/i/{BUSY}/misses?since={PAST}&limit=40",
    f"/i/{BUSY}/diff",
    f"/i/{BUSY}/diff?a={PAST}&b=500",
    f"/i/{BUSY}/what-if?policy=arc&capacity_g2=2x",
    f"/i/{BUSY}/what-if?admission=on_evict&at={PAST}",
]


def read(pages, path):
    answer = pages.get(path)
    assert answer.status_code == 200, answer.text
    return Page.of(answer.text)


def assert_one_answer(pages, path, capsys):
    page = read(pages, path)
    assert len(page.commands) == len(page.twins) >= 1
    for command, twin in zip(page.commands, page.twins, strict=True):
        answer = pages.get(twin)
        assert answer.headers["content-type"] == "application/json"
        expected = said_by(command, capsys)
        assert answer.json() == (expected if isinstance(answer.json(), list) else expected[0]), command
    return page


@pytest.mark.parametrize("path", PATHS)
def test_page_twin_and_command_give_one_answer(pages, path, capsys):
    assert_one_answer(pages, path, capsys)


@pytest.mark.parametrize("order", ["recent", "missed"])
def test_a_requests_page_leads_to_its_story_and_why_it_missed(pages, order, capsys):
    listed = pages.get(f"/i/{BUSY}/requests.json?order={order}").json()["requests"]
    assert len(listed) == 50
    for each in listed[:3]:
        page = assert_one_answer(pages, f"/i/{BUSY}/requests/{each['request']}", capsys)
        assert [command.split()[1] for command in page.commands] == ["request", "why-miss"]
        why = pages.get(page.twins[1]).json()
        assert why["missed"] == each["missed"]
        assert (why["losses"][0]["said"] in page.text) if why["losses"] else ("missed nothing" in page.text)


def test_the_first_digits_of_a_key_lead_to_a_blocks_life(pages, projection, capsys):
    async def some_keys():
        async with open_projection(projection) as opened:
            state = await opened.state(BUSY, (await opened.position()).seq)
            return [
                tier.lineage.key_of(slot)
                for tier in state.tiers.values()
                for slot in list(tier.lineage.index.values())[:2]
            ]

    for key in asyncio.run(some_keys()):
        page = assert_one_answer(pages, f"/i/{BUSY}/blocks/{key[:10]}", capsys)
        life = pages.get(f"/i/{BUSY}/blocks/{key}.json").json()
        assert life["key"] == key
        assert all(event["said"] in page.text for event in life["events"])
        assert pages.get(f"/i/{BUSY}/find?q={key[:10]}").headers["location"] == f"/i/{BUSY}/blocks/{key[:10]}"


def test_a_block_of_another_instances_is_told_with_its_writer(pages, capsys):
    page = assert_one_answer(pages, f"/i/{READER}/blocks/{NOTED}", capsys)
    assert f"g4 slot 0 of {READER}, written by a-writer since" in page.text
    (command,) = page.commands
    app(command.removesuffix(" --json").split()[1:], result_action="return_value")
    assert f"is in   g4 slot 0 of {READER}, written by a-writer, since" in capsys.readouterr().out


def test_the_events_are_those_of_the_journal(pages, projection):
    async def journal():
        async with open_projection(projection) as opened:
            return await opened.journal(BUSY, until=PAST, limit=30, newest_first=True)

    rows = asyncio.run(journal())[::-1]
    lines = pages.get(f"/i/{BUSY}/events.json?limit=30&at={PAST}").json()
    assert [line["seq"] for line in lines] == [row.seq for row in rows]
    assert [line["event"]["type"] for line in lines] == [row.type for row in rows]
    assert all(line["subject"].startswith(f"kvbm.v1.{BUSY}.") for line in lines)
    (command,) = read(pages, f"/i/{BUSY}/events?limit=30&at={PAST}").commands
    assert command == f"kvbm tail --last 30 --instance {BUSY} --at {PAST} --nats-url nats://log:4222"
    app.parse_args(command.split()[1:], exit_on_error=False, print_error=False)


def test_the_heat_map_has_every_slot_and_its_numbers(pages):
    page = read(pages, f"/i/{BUSY}")
    tiers = pages.get(f"/i/{BUSY}.json").json()["tiers"]
    labels = [each["aria-label"] for each in page.all("svg") if each.get("class") == "heat"]
    assert [label.split(":")[0] for label in labels] == list(tiers)
    for label, slots in zip(labels, tiers.values(), strict=True):
        assert f"{slots['capacity'] - slots['free']:,} of {slots['capacity']:,} slots in use" in label
    assert sum(each.get("class", "").startswith("age") for each in page.all("rect")) > 300


def test_links_keep_the_moment(pages):
    page = read(pages, f"/i/{BUSY}?at={PAST}")
    tabs = [each["href"] for each in page.all("a") if each.get("href", "").startswith(f"/i/{BUSY}/")]
    assert f"/i/{BUSY}/misses?at={PAST}" in tabs
    for link in tabs[:40]:
        assert pages.get(link).status_code == 200, link


def test_what_if_without_a_question_is_a_form(pages):
    page = read(pages, f"/i/{BUSY}/what-if")
    assert {each["name"] for each in page.all("input")} >= {"policy", "capacity_g1", "capacity_g2", "admission"}
    assert pages.get(f"/i/{BUSY}/what-if.json").status_code == 400


def test_the_same_what_if_is_the_same_to_the_byte(pages):
    path = f"/i/{BUSY}/what-if.json?policy=fifo&at=400"
    assert pages.get(path).content == pages.get(path).content
