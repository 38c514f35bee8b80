"""What all commands share: help, exit codes, errors on stderr, interrupts, pipes, and a quick start."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
from importlib.metadata import version

import pytest

from cli.conftest import KVBM, PLAIN

HEAVY = (
    *("sqlalchemy", "nats", "structlog", "aiosqlite", "numpy", "matplotlib", "rich.progress"),
    *("kvbm_nats.traces", "kvbm_nats.projection", "kvbm_nats.explain", "kvbm_nats.cli.output", "kvbm_nats.cli.decode"),
)
VERBS = ("why-miss", "block", "request", "show", "state", "diff", "tail", "what-if", "status", "fsck")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["trace", "--help"], []])
def test_help_and_version_import_nothing_heavy(arguments):
    code = (
        "import sys\nfrom kvbm_nats.cli import main\n"
        f"code = main({arguments!r})\n"
        f"sys.stderr.write(' '.join(name for name in {HEAVY!r} if name in sys.modules))\n"
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_version(kvbm):
    assert kvbm("--version").stdout == f"kvbm {version('kvbm-nats')}\n"


@pytest.mark.parametrize("arguments", [(), ("--help",), ("trace",), ("trace", "--help")])
def test_help_is_an_answer(kvbm, arguments):
    done = kvbm(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Usage: kvbm" in done.stdout


def test_every_command_has_help(kvbm):
    verbs = ("block show", "request show", "why-miss", "state", "diff", "tail")
    for command in ("decode", "completion", "trace stats", "trace make", *verbs):
        done = kvbm(*command.split(), "--help")
        assert (done.returncode, done.stderr) == (0, "")
        assert f"Usage: kvbm {command}" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said", "hint"),
    [
        (["decod"], 'Did you mean "decode"', "kvbm --help"),
        (["trace", "mak"], 'Did you mean "make"', "kvbm trace --help"),
        (["trace", "stats"], "TRACES requires an argument", "kvbm trace stats --help"),
        (["trace", "make", "x", "--seed", "q"], 'unable to convert "q" into int', "kvbm trace make --help"),
        (["trace", "make", "x", "--sed", "1"], "--sed", "kvbm trace make --help"),
        (["completion", "tcsh"], "tcsh", "kvbm completion --help"),
    ],
)
def test_a_wrong_command_line_is_trouble(kvbm, arguments, said, hint):
    done = kvbm(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    what, *_, last = done.stderr.splitlines()
    assert what.startswith("kvbm: ")
    assert said in done.stderr
    assert last == f"Try: {hint}"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(kvbm, shell):
    done = kvbm("completion", shell)
    assert (done.returncode, done.stderr) == (0, "")
    assert "decode" in done.stdout
    assert "stats" in done.stdout
    assert [verb for verb in VERBS if verb not in done.stdout] == []


def test_the_completion_of_bash_is_bash(kvbm):
    check = subprocess.run(["bash", "-n"], input=kvbm("completion", "bash").stdout, text=True, timeout=60, check=False)  # noqa: S607 - whichever bash the user has
    assert check.returncode == 0


def endless():
    return subprocess.Popen(
        [KVBM, "trace", "make", "-"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=PLAIN
    )


def test_an_interrupt_ends_without_a_traceback():
    with endless() as process:
        assert process.stdout
        assert process.stdout.readline().startswith("{")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "")


def test_a_reader_that_goes_away_is_no_trouble():
    with endless() as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline().startswith("{")
        process.stdout.close()
        assert process.stderr.read() == ""
        process.wait(timeout=60)
    assert process.returncode == 141


def test_help_into_a_closed_pipe_is_quiet():
    reader, writer = os.pipe()
    os.close(reader)
    with subprocess.Popen([KVBM, "--help"], stdout=writer, stderr=subprocess.PIPE, env=PLAIN) as process:
        os.close(writer)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (141, b"")


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["trace", "make", "-", "--requests", "9"]])
def test_a_full_disk_is_trouble(arguments):
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device, not a path of ours
        done = subprocess.run(
            [KVBM, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False, env=PLAIN
        )
    assert (done.returncode, done.stderr) == (2, "kvbm: [Errno 28] No space left on device\n")


def on_terminal(arguments, **environment):
    """What a process writes that has a terminal for both outputs, and its exit code."""
    ours, theirs = pty.openpty()
    with subprocess.Popen([KVBM, *arguments], stdout=theirs, stderr=theirs, env={**PLAIN, **environment}) as process:
        os.close(theirs)
        said = b""
        while True:
            try:
                said += os.read(ours, 1 << 16)
            except OSError:  # the other side is closed
                break
        os.close(ours)
    return said.decode(), process.returncode


COLOUR = re.compile(r"\x1b\[[0-9;]*3[0-9]")


def test_colour_is_for_terminals_unless_no_color_is_set(kvbm):
    assert COLOUR.search(on_terminal(["--help"], TERM="xterm")[0])
    assert not COLOUR.search(on_terminal(["--help"], TERM="xterm", NO_COLOR="1")[0])
    assert "\x1b" not in kvbm("--help").stdout


def test_progress_is_for_terminals(kvbm, tmp_path):
    made = tmp_path / "made.jsonl"
    done = kvbm("trace", "make", made, "--requests", 200)
    assert (done.returncode, done.stderr) == (0, "")
    said, code = on_terminal(["trace", "stats", str(made)], TERM="xterm")
    assert code == 0
    assert "requests of made.jsonl" in said
    assert "\x1b" not in kvbm("trace", "stats", made).stdout
