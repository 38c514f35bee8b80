"""`kvbm doctor`: whether this machine and its NATS server are fit for kvbm, and what to do where they are not."""

from __future__ import annotations

from pathlib import Path

from kvbm_events.schema.errors import KvbmError
from kvbm_nats import doctor as checks
from kvbm_nats.cli.options import NatsOptions
from kvbm_nats.cli.output import write_words
from kvbm_nats.cli.text import Json, write_json

DEFAULT_FOLDER = Path.home() / ".local" / "state" / "kvbm-nats"


class UnfitMachine(KvbmError):
    """Something does not work without which kvbm does not either."""


def doctor(
    *,
    nats: NatsOptions | None = None,
    monitor_url: str = "",
    folder: Path = DEFAULT_FOLDER,
    timeout_s: float = 30.0,
    json: Json = False,
) -> bool:
    """Look at CUDA, NIXL, GPUDirect Storage, JetStream, disk, shared memory and clock, change nothing, and say what to do.

    Exit code 0: fit, though something optional may be missing (note). 1: something is worse than it should be (poor).
    2: something does not work (broken).

    Args:
        nats: which server to ask
        monitor_url: the server's HTTP monitor, which tells whether it syncs
        folder: where slabs are to lie
        timeout_s: how long one check may take
        json: one JSON object, for machines
    """
    options = nats or NatsOptions()
    findings = checks.examine(
        {
            "cuda": checks.check_cuda,
            "cpu kernel": checks.check_host_kernel,
            "nixl": checks.check_nixl,
            "gds": lambda: checks.check_gds(folder),
            "jetstream": lambda: checks.check_jetstream(options.nats_url, monitor_url),
            "disk": lambda: checks.check_disk(folder),
            "shared memory": checks.check_shared_memory,
            "clock": checks.check_clock,
        },
        timeout_s,
    )
    state = checks.worst(findings)
    if json:
        write_json({"state": state, "findings": findings})
    else:
        _tell(findings)
    if state == "broken":
        broken = ", ".join(finding.name for finding in findings if finding.state == "broken")
        raise UnfitMachine(
            "kvbm cannot work here", why=f"broken: {broken}", hint="see the lines that begin with broken"
        )
    return state != "poor"


def _tell(findings: list[checks.Finding]) -> None:
    for finding in findings:
        write_words(finding.what, first=f"{finding.state:<7} {finding.name:<14} ")
        if finding.hint:
            write_words(f"Try: {finding.hint}", first=" " * 23)
