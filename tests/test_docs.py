"""The documents tell the truth: every command, option, event and error is in them, and the README's examples run."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from kvbm_events.schema import AnyEvent
from kvbm_events.schema import errors as error_module
from kvbm_events.schema.errors import KvbmError

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
CLI = (ROOT / "docs" / "cli.md").read_text()
EXPLAIN = (ROOT / "docs" / "explain.md").read_text()
COMMANDS = [
    ["dev"],
    ["serve"],
    ["worker"],
    ["fsck"],
    ["quarantine"],
    ["memory"],
    ["bridge"],
    ["status"],
    ["stat"],
    ["top"],
    ["check"],
    ["project"],
    ["replay"],
    ["what-if"],
    ["why-miss"],
    ["block", "show"],
    ["request", "show"],
    ["state"],
    ["diff"],
    ["tail"],
    ["web"],
    ["request", "list"],
    ["traffic"],
    ["trace", "run"],
    ["trace", "stats"],
    ["trace", "make"],
    ["doctor"],
    ["decode"],
    ["completion"],
]
COMMON = {"--help", "--version", "--nats-url", "--instance", "--json"}


def help_of(command):
    return subprocess.run(
        [sys.executable, "-m", "kvbm_nats.cli", *command, "--help"], capture_output=True, text=True, check=True
    ).stdout


def test_every_command_of_the_help_is_known_here():
    shown = set(re.findall(r"^\s{2,}([a-z-]+)\s{2,}", help_of([]), re.MULTILINE)) | set(
        re.findall(r"│ ([a-z-]+) ", help_of([]))
    )
    assert {command[0] for command in COMMANDS} <= shown


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_command_and_its_options_are_documented(command):
    assert f"kvbm {' '.join(command)}" in CLI + EXPLAIN
    if command == ["trace", "make"]:
        return  # its options are the workload's figures: docs/traces.md has them
    text = CLI + (ROOT / "docs" / "traces.md").read_text() + EXPLAIN
    options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", help_of(command)))
    missing = {option for option in options - COMMON if option not in text and f"--no-{option[2:]}" not in text}
    missing = {option for option in missing if not option.startswith("--no-") or f"--{option[5:]}" not in text}
    assert not missing


@pytest.mark.parametrize("event", [cls.__name__ for cls in AnyEvent.__args__])
def test_an_event_is_in_the_rooms_page(event):
    page = (ROOT / "events" / "README.md").read_text()
    assert event in page or event.replace("Onboard", "Offload") in page


def test_every_error_is_in_the_tree():
    tree = error_module.__doc__
    for name, cls in vars(error_module).items():
        if isinstance(cls, type) and issubclass(cls, KvbmError):
            assert name in tree


@pytest.mark.parametrize("page", [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md"], ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_the_readmes_examples_run(nats_url, instance):
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    embedded, served = (
        block.replace("nats://127.0.0.1:4222", nats_url).replace("replica-0", instance) for block in blocks
    )
    subprocess.run([sys.executable, "-W", "error", "-c", embedded], check=True, timeout=60)
    serve = subprocess.Popen(
        [
            *(sys.executable, "-m", "kvbm_nats.cli", "serve", "--nats-url", nats_url, "--instance", instance),
            *("--namespace", "model=llama-8b;dtype=bf16;block_tokens=16", "--tiers", "g1=4096,g2=16384"),
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert any("service started" in line for line in serve.stderr)
        keys = "from kvbm_nats.keys import chain_keys\nkeys = chain_keys(list(range(100)), block_tokens=16, namespace='llama-8b')\n"
        found = subprocess.run(
            [sys.executable, "-c", keys + served], check=True, timeout=60, capture_output=True, text=True
        )
        assert "slots=[" in found.stdout
    finally:
        serve.terminate()
        serve.communicate(timeout=60)
