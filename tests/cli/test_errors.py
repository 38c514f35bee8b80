"""The one place where commands end."""

from __future__ import annotations

import pytest

from kvbm_events.schema.errors import KvbmError, TierFull
from kvbm_nats.cli.errors import guarded


def raising(error):
    def command():
        raise error

    return command


@pytest.mark.parametrize(("answer", "code"), [(None, 0), (True, 0), (False, 1)])
def test_answers(answer, code):
    assert guarded(lambda: answer) == code


def test_an_error_of_ours_says_what_why_and_what_next(capsys):
    assert guarded(raising(TierFull("g1 is full", why="all 8 blocks are held", hint="release a request"))) == 2
    assert capsys.readouterr() == ("", "kvbm: g1 is full\n  all 8 blocks are held\nTry: release a request\n")


def test_an_error_with_nothing_but_a_what(capsys):
    assert guarded(raising(KvbmError("no"))) == 2
    assert capsys.readouterr().err == "kvbm: no\n"


def test_an_error_cannot_steer_the_terminal(capsys):
    guarded(raising(KvbmError("request 'a\x1b[2J\nb\u202e'")))
    assert capsys.readouterr().err == "kvbm: request 'a\\x1b[2J\\nb\\u202e'\n"


def test_a_failure_of_the_system_is_one_line(capsys):
    assert guarded(raising(FileNotFoundError(2, "No such file", "x"))) == 2
    assert capsys.readouterr().err == "kvbm: [Errno 2] No such file: 'x'\n"


def test_a_fault_of_the_program_shows_its_traceback_and_does_not_say_no(capsys):
    assert guarded(raising(ZeroDivisionError("a bug"))) == 2
    assert "Traceback" in capsys.readouterr().err


def test_an_interrupt(capsys):
    assert guarded(raising(KeyboardInterrupt())) == 130
    assert capsys.readouterr() == ("", "")


def test_a_broken_pipe(capsys):
    assert guarded(raising(BrokenPipeError())) == 141
    assert capsys.readouterr() == ("", "")


def test_an_exit_of_a_command_s_own_passes():
    with pytest.raises(SystemExit, match="7"):
        guarded(raising(SystemExit(7)))
