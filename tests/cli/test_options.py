"""The options for NATS: default, environment, command line, in rising order."""

from __future__ import annotations

import pytest
from cyclopts import App

from kvbm_events.schema.errors import InvalidCommand
from kvbm_nats.cli.options import NatsOptions


def parsed(*arguments):
    app = App(name="t", result_action="return_value")

    @app.default
    def show(*, nats: NatsOptions | None = None):
        return nats or NatsOptions()

    return app(arguments, exit_on_error=False, print_error=False)


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    for name in ("KVBM_NATS_URL", "KVBM_INSTANCE"):
        monkeypatch.delenv(name, raising=False)


def test_defaults():
    assert parsed() == NatsOptions(nats_url="nats://127.0.0.1:4222", instance="default")


def test_environment(monkeypatch):
    monkeypatch.setenv("KVBM_NATS_URL", "nats://a:1")
    monkeypatch.setenv("KVBM_INSTANCE", "llama-0")
    assert parsed() == NatsOptions(nats_url="nats://a:1", instance="llama-0")


def test_the_command_line_wins(monkeypatch):
    monkeypatch.setenv("KVBM_INSTANCE", "llama-0")
    assert parsed("--instance", "b", "--nats-url", "nats://b:2") == NatsOptions(nats_url="nats://b:2", instance="b")


def test_a_name_that_is_no_token():
    with pytest.raises(InvalidCommand, match=r"'a\.b' cannot name an instance"):
        parsed("--instance", "a.b")
