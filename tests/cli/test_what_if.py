"""`kvbm what-if` over what `kvbm` itself recorded."""

import json

import pytest


@pytest.fixture
def trace(kvbm, tmp_path):
    assert kvbm("trace", "make", "day.jsonl", "--requests", 150, "--seed", 4).returncode == 0
    return tmp_path / "day.jsonl"


def test_a_trace_gives_a_table_and_the_first_difference(kvbm, trace):
    run = kvbm("what-if", trace, "--tiers", "g1=60", "--policy", "fifo", "--capacity", "g1=2x")
    assert run.returncode == 0, run.stderr
    assert [line.split("  ")[0].strip() for line in run.stdout.splitlines()[3:7]] == [
        "the plan",
        "g1=120",
        "fifo",
        "fifo g1=120",
    ]
    assert "differs first at" in run.stdout


def test_the_same_question_has_the_same_answer_to_the_byte(kvbm, trace, tmp_path):
    ask = ("what-if", trace, "--tiers", "g1=40,g2=80", "--policy", "arc", "--admission", "on_evict", "--json")
    answers = [kvbm(*ask, "--picture", f"{number}.svg") for number in range(2)]
    assert answers[0].stdout == answers[1].stdout
    assert (tmp_path / "0.svg").read_bytes() == (tmp_path / "1.svg").read_bytes()
    assert "possible (Belady)" in (tmp_path / "0.svg").read_text()
    worlds = json.loads(answers[0].stdout)["worlds"]
    assert [world["name"] for world in worlds] == ["the plan", "on_evict", "arc", "arc on_evict"]
    assert all(world["hits"] == sum(world["found"].values()) <= world["bound"] for world in worlds)
    assert worlds[0]["moved_bytes"] == sum(worlds[0]["moved"].values()) * json.loads(answers[0].stdout)["block_bytes"]


def test_a_log_is_asked_live_and_exported(kvbm, trace, nats_server):
    nats = ("--nats-url", nats_server.url, "--instance", "t")
    assert kvbm("trace", "run", trace, "--tiers", "g1=60", *nats).returncode == 0
    live = kvbm("what-if", "--policy", "s3fifo", "--json", *nats)
    assert live.returncode == 0, live.stderr
    assert kvbm("replay", "--export", "log.jsonl", *nats).returncode == 0
    exported = kvbm("what-if", "log.jsonl", "--policy", "s3fifo", "--json", "--instance", "t")
    assert exported.stdout == live.stdout
    answer = json.loads(live.stdout)
    assert answer["recorded_found"] == answer["worlds"][0]["hits"] > 0


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--policy", "lfu"), "there is no such policy"),
        (("--picture", "curve.gif"), "neither PNG nor SVG"),
        (("--capacity", "g9=1"), "of a tier of the plan"),
    ],
)
def test_what_cannot_be_is_refused(kvbm, trace, arguments, why):
    run = kvbm("what-if", trace, *arguments)
    assert run.returncode == 2
    assert why in run.stderr


def test_a_log_of_others_is_refused_by_their_names(kvbm, tmp_path):
    (tmp_path / "log.jsonl").write_text('{"seq":1,"subject":"kvbm.v1.a.g1.matched","event":{}}\n')
    run = kvbm("what-if", "log.jsonl", "--instance", "b")
    assert run.returncode == 2
    assert "--instance a" in run.stderr


def test_a_projection_is_asked_as_the_log_is_up_to_any_moment(kvbm, trace, nats_server):
    nats = ("--nats-url", nats_server.url, "--instance", "t")
    assert kvbm("trace", "run", trace, "--tiers", "g1=60", *nats).returncode == 0
    assert kvbm("project", "--once", "--into", "p.db", "--nats-url", nats_server.url).returncode == 0
    for moment in ((), ("--at", "200")):
        ask = ("what-if", "--policy", "fifo", "--json", *moment)
        log, kept = kvbm(*ask, *nats), kvbm(*ask, "--projection", "p.db", "--instance", "t")
        assert log.returncode == kept.returncode == 0, log.stderr + kept.stderr
        assert log.stdout == kept.stdout
    refused = kvbm("what-if", trace, "--at", "200")
    assert (refused.returncode, "a file is played whole" in refused.stderr) == (2, True)
    assert "has no events" in kvbm("what-if", "--projection", "p.db", "--instance", "nobody").stderr
