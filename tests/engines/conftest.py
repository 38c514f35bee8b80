"""What tests on real engines share. They are skipped where no environment with an engine is named: see `.ci/engines`."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kvbm_nats.nats_server import NatsServer
from support.engines import PROCESSES, PYTHON_ENV, Engine, Site


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Engines start slowly, and a machine may be busy."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(600))
            if not os.environ.get(PYTHON_ENV):
                item.add_marker(
                    pytest.mark.skip(reason=f"no engine: .ci/engines makes one, and names it in {PYTHON_ENV}")
                )


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model, made here."""
    folder = tmp_path_factory.mktemp("model") / "tiny"
    subprocess.run([os.environ[PYTHON_ENV], str(PROCESSES / "vllm_model.py"), str(folder)], check=True)
    return folder


@pytest.fixture(scope="module")
def alone(model: Path) -> Callable[..., list[dict]]:
    """What an engine without a connector says to prompts. It has ended before another one starts."""
    said: dict[str, list[dict]] = {}

    def ask(*prompts: list[int], **more: object) -> list[dict]:
        name = repr((prompts, more))
        if name not in said:
            with Engine(model) as engine:
                said[name] = [engine.generate([each], **more)[0] for each in prompts]
        return said[name]

    return ask


@pytest.fixture(scope="module")
def site(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server, a folder for tiers, and engines one after the other; shared by the tests of a module."""
    folder = tmp_path_factory.mktemp("site")
    with NatsServer(folder / "server") as server, Site(model, server, folder, f"e-{secrets.token_hex(4)}") as site:
        yield site
