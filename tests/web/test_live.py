"""`kvbm web` as it is started: over a real server's log, with events as they come, until it is told to end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import httpx2
import pytest

from web.server import KVBM, Engine, Web

TOKEN = "0123456789abcdef0123"  # noqa: S105 - it opens what this test makes


def refused(*arguments, **environment):
    run = subprocess.run(
        [*KVBM, "web", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=environment or None,
    )
    assert run.returncode == 2, run.stdout
    return run.stderr


def news(lines):
    """The data of each event of a stream."""
    for line in lines:
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))


def test_events_are_told_as_they_come(nats_server, instance):
    with Engine(nats_server.url, instance) as engine:
        engine.ask("before")
        engine.manager.flush()
        with Web("--nats-url", nats_server.url) as web, httpx2.Client(base_url=web.url, timeout=30) as client:
            last = client.get(f"/i/{instance}.json").json()["as_of_seq"]
            with client.stream("GET", f"/i/{instance}/stream?after={last}") as stream:
                assert stream.headers["content-type"].startswith("text/event-stream")
                assert "content-encoding" not in stream.headers
                engine.ask("<b>while it is watched</b>")
                told = []
                for each in news(stream.iter_lines()):
                    told += each["events"]
                    if any("let go" in event["said"] for event in told):
                        break
            assert [event["type"] for event in told] == ["Matched", "Allocated", "Registered", "Released"]
            assert told[0]["said"].startswith("<b>while it is watched</b> asked for 3 blocks")
            assert [event["seq"] for event in told] == list(range(last + 1, last + 5))
            page = client.get(f"/i/{instance}").text
            assert "&lt;b&gt;while it is watched&lt;/b&gt;" in page
            again = client.stream("GET", f"/i/{instance}/stream", headers={"Last-Event-ID": str(last + 2)})
            with again as stream:
                assert [event["seq"] for event in next(news(stream.iter_lines()))["events"]] == [last + 3, last + 4]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_when_it_is_told_though_somebody_watches(nats_server, instance, number):
    with Engine(nats_server.url, instance) as engine:
        engine.ask("one")
        engine.manager.flush()
        with (
            Web("--nats-url", nats_server.url) as web,
            httpx2.stream("GET", f"{web.url}/i/{instance}/stream", timeout=30) as stream,
        ):
            next(stream.iter_lines())
            web.process.send_signal(number)
            assert web.end() == ""
            assert web.process.returncode == 0


def test_a_log_that_goes_away_ends_it_with_what_happened(nats_server, instance):
    with Engine(nats_server.url, instance) as engine:
        engine.ask("one")
        engine.manager.flush()
    with Web("--nats-url", nats_server.url) as web:
        assert httpx2.get(f"{web.url}/index.json").json()[0]["instance"] == instance
        nats_server.kill()
        said = web.process.communicate(timeout=120)[1]
        assert web.process.returncode == 2
        assert "kvbm: " in said


def test_a_projection_is_served_to_those_who_have_the_token(projection):
    with Web("--projection", projection, "--host", "0.0.0.0", KVBM_WEB_TOKEN=TOKEN) as web:  # noqa: S104 - with a token
        url = web.url.replace("0.0.0.0", "127.0.0.1")  # noqa: S104 - what it printed
        assert httpx2.get(f"{url}/index.json").status_code == 401
        assert httpx2.get(f"{url}/index.json", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_refusals_at_the_start(projection, tmp_path):
    said = refused("--projection", projection, "--host", "0.0.0.0")  # noqa: S104 - it is refused
    assert "no token, and 0.0.0.0 is not this machine alone" in said
    assert "Try: set KVBM_WEB_TOKEN" in said
    assert "there is no projection" in refused("--projection", tmp_path / "none.db")
    assert "no NATS server answers" in refused("--nats-url", "nats://127.0.0.1:1")
    with Web("--projection", projection) as web:
        assert "Try: --port takes another one" in refused(
            "--projection", projection, "--port", web.url.rpartition(":")[2]
        )
    assert "cannot listen on 192.0.2.1" in refused("--projection", projection, "--host", "192.0.2.1", "--token", TOKEN)


def test_a_projections_password_is_not_shown():
    from kvbm_nats.cli.web import _without_password  # noqa: PLC0415 - what a page shows of it

    assert _without_password("postgresql://me:s3cret@host/db") == "postgresql://me:…@host/db"
    assert _without_password("sqlite:///a.db") == "sqlite:///a.db"


def test_without_its_packages_it_says_how_to_get_them():
    hidden = "import sys; sys.modules['starlette'] = None; from kvbm_nats.cli import main; sys.exit(main(['web']))"
    run = subprocess.run([sys.executable, "-c", hidden], capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode == 2
    assert "Try: pip install 'kvbm-nats[web]'" in run.stderr
