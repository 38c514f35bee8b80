"""Errors and bodies over the wire."""

import msgspec
import pytest

from kvbm_events.schema import errors
from kvbm_events.schema.errors import InvalidCommand, KvbmError
from kvbm_nats.service import messages
from kvbm_nats.service.messages import AllocateCall, MatchCall, ReleaseCall
from kvbm_nats.service.wire import decode_call, decode_error, encode, encode_error

KNOWN = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, KvbmError)]


@pytest.mark.parametrize("kind", KNOWN)
def test_an_error_arrives_as_what_it_was(kind):
    sent = kind("what happened", why="because", hint="do that")
    code, body = encode_error(sent)
    came = decode_error(body)
    assert type(came) is kind
    assert (came.what, came.why, came.hint) == (sent.what, sent.why, sent.hint)
    assert code in {"400", "409", "500", "503"}


def test_an_error_of_a_newer_service_arrives_as_the_base():
    came = decode_error(b'{"error":"SomethingNew","what":"w","why":"y","hint":"h","more":1}')
    assert type(came) is KvbmError
    assert str(came) == "w: y. Try: h"


def test_a_fault_of_the_program_is_told_as_one():
    code, body = encode_error(ZeroDivisionError("division by zero"))
    assert code == "500"
    assert "ZeroDivisionError: division by zero" in str(decode_error(body))


def test_what_is_no_error_body_is_one_all_the_same():
    assert "cannot be read" in str(decode_error(b"\xff"))


HEAD = '"client":"c","number":1,'


@pytest.mark.parametrize(
    ("kind", "body", "named"),
    [
        (AllocateCall, "", "missing required field `client`"),
        (AllocateCall, "{", "truncated"),
        (AllocateCall, "[]", "Expected `object`, got `array`"),
        (AllocateCall, "\ud800", "malformed"),
        (AllocateCall, "{" + HEAD + '"request":"r"}', "missing required field `count`"),
        (AllocateCall, "{" + HEAD + '"request":"r","count":"3"}', r"Expected `int`, got `str` - at `\$.count`"),
        (AllocateCall, "{" + HEAD + '"request":"r","count":0}', r">= 1 - at `\$.count`"),
        (AllocateCall, "{" + HEAD + '"request":"r","count":99999}', r"<= 16384 - at `\$.count`"),
        (AllocateCall, "{" + HEAD + '"request":"","count":1}', r"length >= 1 - at `\$.request`"),
        (AllocateCall, "{" + HEAD + '"request":"r","count":1,"tier":"g9"}', r"'g9' - at `\$.tier`"),
        (AllocateCall, "{" + HEAD + '"request":"r","count":1,"priority":101}', r"<= 100 - at `\$.priority`"),
        (AllocateCall, "{" + HEAD + '"request":"r","count":1,"sice":2}', "unknown field `sice`"),
        (AllocateCall, '{"client":"c","number":0,"request":"r","count":1}', r">= 1 - at `\$.number`"),
        (AllocateCall, '{"client":"","number":1,"request":"r","count":1}', r"length >= 1 - at `\$.client`"),
        (MatchCall, "{" + HEAD + '"request":"r","keys":[1]}', r"got `int` - at `\$.keys\[0\]`"),
        (MatchCall, "{" + HEAD + '"request":"r","keys":[],"wait_s":61}', r"<= 60.0 - at `\$.wait_s`"),
        (ReleaseCall, "{" + HEAD + '"request":"r","slots":[-1]}', r">= 0 - at `\$.slots\[0\]`"),
        (ReleaseCall, "{" + HEAD + '"request":"r","reason":"bored"}', r"'bored' - at `\$.reason`"),
    ],
)
def test_a_bad_body_is_refused_by_name(kind, body, named):
    with pytest.raises(InvalidCommand, match=named):
        decode_call(body.encode(errors="surrogatepass"), kind)


def test_too_many_keys_are_refused():
    call = MatchCall(client="c", number=1, request="r", keys=["0" * 32] * (messages.MAX_KEYS + 1))
    with pytest.raises(InvalidCommand, match="length <= 16384"):
        decode_call(encode(call), MatchCall)


def test_the_largest_question_stays_under_the_servers_default_limit():
    keys, slots = ["0" * 32] * messages.MAX_KEYS, [(1 << 32) - 1] * messages.MAX_KEYS
    call = messages.RegisterCall(client="c" * 64, number=1, request="r" * 256, slots=slots, keys=keys, parent="0" * 32)
    assert len(encode(call)) < 1 << 20


def test_every_message_survives_the_way():
    calls = [kind for kind in vars(messages).values() if isinstance(kind, type) and issubclass(kind, messages.Call)]
    fields = {
        "client": "c",
        "number": 1,
        "request": "r",
        "count": 1,
        "slots": [0],
        "keys": ["0" * 32],
        "tier": "g1",
        "tiers": ["g1"],
    }
    for kind in calls:
        given = {name: value for name, value in fields.items() if name in kind.__struct_fields__}
        call = msgspec.convert(given, kind)
        assert decode_call(encode(call), kind) == call
