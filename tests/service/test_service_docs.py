"""docs/service.md is true: its conversation is held with a service, its configuration is read, its limits are the code's."""

import json
import re
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from kvbm_events.schema.errors import KvbmError
from kvbm_nats.offloading.admission import Refusal
from kvbm_nats.offloading.path_queue import Why
from kvbm_nats.options import Options
from kvbm_nats.service import answers, config, leases, messages, micro
from kvbm_nats.service.config import ServeConfig
from kvbm_nats.service.messages import Call, StatusCall, Verb
from kvbm_nats.status import PathStatus, PeerStatus
from kvbm_statemachine.state import MAX_REQUESTS
from support.service import TIERS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "service.md").read_text()
VERBS = get_args(Verb)
SECTIONS = dict(zip(*[iter(re.split(r"^#{2,3} (.+)$", PAGE, flags=re.MULTILINE)[1:])] * 2, strict=True))
NAMESPACE = "model=llama-8b;dtype=bf16;page=16"


def examples(section):
    return [json.loads(block) for block in re.findall(r"```json\n(.*?)```", SECTIONS[section], re.DOTALL)]


def test_every_verb_has_a_question_and_an_answer():
    assert [section for section in SECTIONS if section in VERBS] == list(VERBS)
    assert all(len(examples(verb)) == 2 for verb in VERBS)


async def test_the_conversation_of_the_page(open_hosted):
    hosted = await open_hosted(tiers=TIERS + ":selective/9", name="replica-0", namespace=NAMESPACE)
    for verb in [*VERBS, "Errors"]:
        question, expected = examples(verb)
        reply = await hosted.raw("release" if verb == "Errors" else verb, json.dumps(question).encode())
        assert msgspec.json.decode(reply.data) == expected, verb


def test_every_field_of_a_question_is_told():
    calls = [kind for kind in vars(messages).values() if isinstance(kind, type) and issubclass(kind, Call)]
    for kind in [*calls, StatusCall]:
        for field in kind.__struct_fields__:
            assert re.search(rf'[`"]{field}[`"]', PAGE), f"{kind.__name__}.{field}"


def test_every_reason_for_which_blocks_do_not_begin_is_told():
    section = SECTIONS["What waits"]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == list(get_args(Why))
    for field in PathStatus.__struct_fields__:
        assert f'"{field}"' in SECTIONS["status"]
    for why in get_args(Refusal):
        assert f"`{why}`" in section


def test_every_field_of_a_peer_is_told():
    for field in PeerStatus.__struct_fields__:
        assert f"`{field}`" in SECTIONS["status"]


def test_every_error_that_can_be_refused_with_is_told():
    def children(base):
        return [child for direct in base.__subclasses__() for child in [direct, *children(direct)]]

    refusals = next(kind for kind in children(KvbmError) if kind.__name__ == "RefusedError")
    for kind in children(refusals):
        if kind.__module__.startswith("kvbm_events"):
            assert f"`{kind.__name__}`" in SECTIONS["Errors"]


def test_the_configuration_of_the_page_can_be_read(tmp_path):
    (block,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "serve.toml").write_text(block)
    read = config.load_config(tmp_path / "serve.toml")
    assert [instance.name for instance in read.instances] == ["replica-0", "replica-1"]
    assert read.log == ServeConfig(instances=[]).log, "the page calls these the defaults"
    assert read.instances[1].keep == ("g2",)


@pytest.mark.parametrize(
    ("row", "limit"),
    [
        ("keys, slots or blocks", f"{messages.MAX_KEYS:,}"),
        ("a request's name", f"{messages.MAX_NAME}, {messages.MAX_CLIENT} characters"),
        ("requests named by one", f"{messages.MAX_CLAIMED:,}"),
        ("`wait_s`", f"{messages.MAX_WAIT_S:g} s"),
        ("clients with a lease", f"{leases.MAX_CLIENTS:,}"),
        ("open requests", f"{MAX_REQUESTS:,}"),
        ("questions being answered", f"{micro.IN_FLIGHT_MAX:,}"),
        ("questions waiting", f"{micro.PENDING_MAX:,}, {micro.PENDING_BYTES_MAX >> 20} MiB"),
        ("answers kept", f"{answers.COUNT_MAX:,}, {answers.BYTES_MAX >> 20} MiB, {answers.AGE_S:g} s"),
        ("events not yet stored", f"{Options().pending_max:,} | questions wait {Options().room_timeout_s:g} s"),
        (
            "transfers under way",
            f"{Options().path_transfers_max}, of {Options().batch_max} blocks, {Options().path_blocks_max} blocks",
        ),
        ("blocks that wait", f"{Options().queue_max:,}"),
        ("instances of a service", f"{config.MAX_INSTANCES}"),
    ],
)
def test_a_limit_of_the_page_is_the_codes(row, limit):
    assert re.search(rf"^\| {re.escape(row)}[^|]*\| {re.escape(limit)}[ ,]", SECTIONS["Limits"], re.MULTILINE)
