"""The frame of `kvbm`: which commands there are. Each is named by an import string, so `kvbm --help` loads none.

A command is a function that returns nothing, or whether the answer is yes. It writes its answer by `output`, and
raises a `KvbmError` for trouble; `errors` does the rest.
"""

from __future__ import annotations

from collections.abc import Sequence

from cyclopts import App

from kvbm_nats.cli.errors import guarded


def _version() -> str:
    from importlib.metadata import version  # noqa: PLC0415 - 50 ms that only `--version` needs

    return f"kvbm {version('kvbm-nats')}"


app = App(
    name="kvbm",
    help="A KV-cache block manager that can explain itself: every transition of a block is an event in NATS JetStream.",
    version=_version,
    help_format="plaintext",
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
block = App(name="block", help="One block: where it is, and its whole life.")
request = App(name="request", help="Requests: the story of one, and who asked lately.")
trace = App(name="trace", help="Request traces: recorded ones, and generated ones of the same shape.")

app.command(
    "kvbm_nats.cli.dev:dev", name="dev", help="Everything in one process, with demo traffic; no GPU, no Docker."
)
app.command("kvbm_nats.cli.serve:serve", name="serve", help="Host instances as a NATS micro service.")
app.command("kvbm_nats.cli.worker:worker", name="worker", help="Hold one rank's tiers and move its blocks.")
app.command("kvbm_nats.cli.memory:memory", name="memory", help="Keep a tier's blocks for a worker on another host.")
app.command("kvbm_nats.cli.bridge:bridge", name="bridge", help="Record what an engine says of its own KV cache.")
app.command("kvbm_nats.cli.status:status", name="status", help="A live owner: its tiers, and what moves and waits.")
app.command("kvbm_nats.cli.stat:stat", name="stat", help="What happens now, a line a second.")
app.command("kvbm_nats.cli.top:top", name="top", help="One instance as it lives, on the whole terminal.")
app.command(
    "kvbm_nats.cli.check:check", name="check", help="Is an instance well? For Nagios, Prometheus and their kin."
)
app.command("kvbm_nats.cli.project:project", name="project", help="Keep the log as SQL tables.")
app.command("kvbm_nats.cli.replay:replay", name="replay", help="Fold a log again: verify, stop at a moment, export.")
app.command("kvbm_nats.cli.fsck:fsck", name="fsck", help="Is what the log says on disk? Read it, prove it, repair.")
app.command(
    "kvbm_nats.cli.quarantine:quarantine", name="quarantine", help="Slots that a lost mover may still write to."
)
app.command(
    "kvbm_nats.cli.what_if:what_if", name="what-if", help="Recorded requests under other plans: hits, bytes, picture."
)
app.command(
    "kvbm_nats.cli.why_miss:why_miss_command",
    name="why-miss",
    help="Why a request did not find its blocks; with --top, what most requests miss theirs for.",
)
app.command(block)
block.command("kvbm_nats.cli.block:show", name="show", help="Where a block is, and its whole life.")
app.command(request)
request.command("kvbm_nats.cli.request:show", name="show", help="What a request asked for, found and moved.")
request.command("kvbm_nats.cli.request:list_", name="list", help="Who asked lately, and who missed most.")
app.command("kvbm_nats.cli.state:state", name="state", help="What is in the tiers, now or at any moment.")
app.command("kvbm_nats.cli.diff:diff", name="diff", help="What came and went between two moments.")
app.command("kvbm_nats.cli.tail:tail", name="tail", help="The events as they come, a line each.")
app.command("kvbm_nats.cli.web:web", name="web", help="The same answers as pages, on this machine or with a token.")
app.command("kvbm_nats.cli.traffic:traffic", name="traffic", help="Play generated traffic against a service.")
app.command(trace)
trace.command("kvbm_nats.cli.trace_run:run", name="run", help="Play a trace through an owner or a service.")
trace.command("kvbm_nats.cli.trace_stats:stats", name="stats", help="Measure traces: blocks, tokens, possible hits.")
trace.command("kvbm_nats.cli.trace_make:make", name="make", help="Generate a trace and write it to a file.")
app.command("kvbm_nats.cli.doctor:doctor", name="doctor", help="Is this machine fit for kvbm, and what to do if not.")
app.command("kvbm_nats.cli.decode:decode", name="decode", help="Expand one event's JSON: every slot and key on a line.")
app.command("kvbm_nats.cli.completion:completion", name="completion", help="Print the completion script of a shell.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code: 0 yes, 1 no, 2 trouble."""
    return guarded(lambda: app(arguments, exit_on_error=False, print_error=False))
