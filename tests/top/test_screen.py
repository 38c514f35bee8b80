"""`kvbm top` over a real server and a real owner: what it shows, its keys, and an outage."""

import asyncio

import pytest

from kvbm_events.schema.errors import InvalidCommand, LogUnavailable
from kvbm_nats.live.reasons import Reasons
from kvbm_nats.live.thread import WatchThread
from kvbm_nats.live.watch import WatchOptions
from kvbm_nats.manager import BlockManager
from kvbm_nats.plan import parse_plan
from kvbm_nats.publisher import Publisher
from support.chained_keys import prefix
from support.service import ServiceProcess
from top.playing import NAMESPACE
from top.screens import screen


async def test_it_shows_what_the_owner_did_and_does(player, nats_url, instance):
    await asyncio.to_thread(player.play, 40)
    async with screen(nats_url, instance) as shown:
        await shown.until(lambda: "256" in shown.text("tiers"))
        tiers = {tier.tier: tier for tier in shown.app.feed.view.slots.tiers}
        state = player.owner.status()
        assert {tier.tier: tier.registered for tier in state.tiers} == {
            name: tier.registered for name, tier in tiers.items()
        }
        assert "no service answers" in shown.text("notice")
        await shown.until(lambda: len(shown.rows("look-ups")) == 40)
        paths = {row[1] for row in shown.rows("transfers")}
        assert "g1>g2" in paths
        assert paths <= {"g1>g2", "g2>g1"}
        before = sum(sample.asked for sample in shown.app.feed.view.samples)
        assert before == player.asked
        await asyncio.to_thread(player.play, 20)
        await shown.until(lambda: sum(sample.asked for sample in shown.app.feed.view.samples) == player.asked)
        await shown.until(lambda: len(shown.rows("look-ups")) == 60)
        assert "live" in shown.text("head")
        assert instance in shown.text("head")


async def test_a_service_tells_what_is_in_its_tiers_and_what_waits(nats_url, instance):
    service = await ServiceProcess(nats_url, instance, tiers="g1=64,g2=256").start()
    async with await Publisher.connect(nats_url, instance) as kv, screen(nats_url, instance) as shown:
        await shown.until(lambda: "not acknowledged" in shown.text("notice"))
        slots = await kv.allocate("r", 6)
        await shown.until(lambda: shown.app.feed.view.slots.tiers[0].allocated == 6)
        await shown.until(lambda: "1 request open" in shown.text("notice"))
        assert "▒" in shown.text("tiers").splitlines()[0]
        await kv.register("r", slots, prefix(range(6)))
        await kv.release("r")
        await shown.until(lambda: "6 of 256" in shown.text("tiers"))
        await shown.until(lambda: shown.text("paths").splitlines()[1].split()[0] == "g1>g2")
        assert shown.text("paths").splitlines()[1].split()[-3:] == ["0", "0", "0"]
        assert await service.terminate() == 0
        await shown.until(lambda: "no service answers" in shown.text("notice"))
        await shown.until(lambda: "6 of 256" in shown.text("tiers"))


async def test_it_says_why_blocks_are_missed_and_tells_of_a_request(nats_server, instance):
    with BlockManager.open(nats_server.url, instance, namespace=NAMESPACE, tiers=parse_plan("g1=8")) as owner:
        for name, keys in (("a", prefix(range(4))), ("b", prefix([*range(2), "other", "end"]))):
            hits = owner.match(name, keys)
            found = sum(len(hit.slots) for hit in hits)
            owner.register(name, owner.allocate(name, 4 - found), keys[found:], parent=keys[found - 1] if found else "")
            owner.release(name)
        owner.flush()
        async with screen(nats_server.url, instance) as shown:
            await shown.until(lambda: "diverged" in shown.text("causes"))
            assert "new" in shown.text("causes")
            await shown.until(lambda: shown.rows("look-ups"))
            assert [row[1:] for row in shown.rows("look-ups")] == [["2 of 4", "b"], ["4 of 4", "a"]]
            shown.table("look-ups").focus()
            await shown.press("enter")
            await shown.until(lambda: "diverged:" in shown.text("text"))
            assert "missed    2" in shown.text("text")
            await shown.press("escape")
            await shown.until(lambda: shown.text("tiers"))


async def test_enter_on_a_transfer_shows_all_that_is_known_of_it(player, nats_url, instance):
    await asyncio.to_thread(player.play, 10)
    async with screen(nats_url, instance) as shown:
        await shown.until(lambda: shown.rows("transfers"))
        shown.table("transfers").focus()
        await shown.press("enter")
        await shown.until(lambda: "arrived" in shown.text("text"))
        assert "path      g1 to g2" in shown.text("text")
        assert "at sequence" in shown.text("text")


async def test_sorting_and_help(player, nats_url, instance):
    await asyncio.to_thread(player.play, 20)
    async with screen(nats_url, instance) as shown:
        await shown.until(lambda: len(shown.rows("transfers")) > 3)
        shown.table("transfers").focus()
        await shown.press("s")
        assert shown.table("transfers").border_title == "largest transfers"
        blocks = [int(row[2]) for row in shown.rows("transfers")]
        assert blocks == sorted(blocks, reverse=True)
        await shown.press("tab", "s")
        assert shown.table("look-ups").border_title == "look-ups that missed most"
        missed = [int(row[1].split()[0].replace(",", "")) for row in shown.rows("look-ups")]
        assert missed == sorted(missed, reverse=True)
        await shown.press("question_mark")
        await shown.until(lambda: "quit" in shown.text("text"))
        await shown.press("escape")
        await shown.until(lambda: shown.text("tiers"))


async def test_a_pause_stands_still_and_goes_on(player, nats_url, instance):
    await asyncio.to_thread(player.play, 5)
    async with screen(nats_url, instance) as shown:
        await shown.until(lambda: len(shown.rows("look-ups")) == 5)
        await shown.press("p")
        assert "PAUSED" in shown.text("head")
        await asyncio.to_thread(player.play, 5)
        await shown.until(lambda: len(shown.app.feed.view.look_ups) == 10)
        assert len(shown.rows("look-ups")) == 5
        await shown.press("p")
        await shown.until(lambda: len(shown.rows("look-ups")) == 10)
        assert "PAUSED" not in shown.text("head")


async def test_the_next_instance_is_a_key_away_and_the_one_that_wrote_last_comes_first(nats_server):
    plan = {"namespace": NAMESPACE, "tiers": parse_plan("g1=8")}
    with (
        BlockManager.open(nats_server.url, "a", **plan) as first,
        BlockManager.open(nats_server.url, "b", **plan) as second,
    ):
        first.flush()
        second.flush()
        async with screen(nats_server.url, None) as shown:
            await shown.until(lambda: "b (2 of 2)" in shown.text("head"))
            await shown.press("i")
            await shown.until(lambda: "a (1 of 2)" in shown.text("head") and "live" in shown.text("head"))
            await shown.until(lambda: "of 8" in shown.text("tiers"))


async def test_an_outage_is_said_and_gone_over(nats_server, instance):
    plan = {"namespace": NAMESPACE, "tiers": parse_plan("g1=8")}
    with BlockManager.open(nats_server.url, instance, **plan) as owner:
        owner.flush()
        async with screen(nats_server.url, instance) as shown:
            await shown.until(lambda: "live" in shown.text("head") and "of 8" in shown.text("tiers"))
            nats_server.kill()
            await shown.until(lambda: "AWAY" in shown.text("head"))
            assert nats_server.url in shown.text("away")
            assert "tries again" in shown.text("away")
            assert "of 8" in shown.text("tiers"), "what was known stays"
            owner.match("r", ["0" * 32])
            await asyncio.to_thread(nats_server.start)
            await shown.until(lambda: "live" in shown.text("head"))
            await shown.until(lambda: shown.rows("look-ups"))
            assert shown.text("away") == ""
            await asyncio.to_thread(owner.flush)


def fits(shown, name):
    lines, panel = shown.text(name).splitlines(), shown.app.query_one(f"#{name}").content_size
    return max(map(len, lines)) <= panel.width and len(lines) <= panel.height


@pytest.mark.parametrize("size", [(80, 24), (60, 20), (120, 40), (200, 60)], ids=str)
async def test_it_fits_every_window(player, nats_url, instance, size):
    await asyncio.to_thread(player.play, 5)
    async with screen(nats_url, instance, size=size) as shown:
        await shown.until(lambda: shown.rows("look-ups") and "256" in shown.text("tiers"))
        for name in ("head", "tiers", "rates", "paths", "notice", "workers"):
            await shown.until(lambda name=name: fits(shown, name))
        assert shown.table("transfers").size.height > 1
        await shown.pilot.resize_terminal(100, 30)
        await shown.until(lambda: len(shown.text("tiers").splitlines()[0]) > 80)


async def test_q_ends_it(player, nats_url, instance):
    await asyncio.to_thread(player.owner.flush)
    async with screen(nats_url, instance) as shown:
        await shown.press("q")
        assert shown.app._exit


def test_what_is_not_there_is_refused_before_the_screen(nats_server):
    def start(url, instance):
        return WatchThread(WatchOptions(url=url, instance=instance, is_folding=True), Reasons(url, None)).start()

    with pytest.raises(InvalidCommand, match="is empty"):
        start(nats_server.url, None)
    with pytest.raises(InvalidCommand, match="is empty"):
        start(nats_server.url, "x")
    with BlockManager.open(nats_server.url, "a", namespace=NAMESPACE, tiers=parse_plan("g1=8")) as owner:
        owner.flush()
    with pytest.raises(InvalidCommand, match="is of instance 'x'"):
        start(nats_server.url, "x")
    with pytest.raises(LogUnavailable, match="no NATS server answers"):
        start("nats://127.0.0.1:1", None)


def test_without_a_terminal_it_says_what_to_use(kvbm):
    done = kvbm("top")
    assert done.returncode == 2
    assert "kvbm stat" in done.stderr
