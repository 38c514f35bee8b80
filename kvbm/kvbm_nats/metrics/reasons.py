"""Why blocks did not arrive, in a handful of words: an event's own reason names ranks and errors, and would be a series each."""

from __future__ import annotations

from kvbm_tiers import OWNER_RESTARTED, loss

CLASSES = ("corrupt", "gone", "reset", "deadline", "owner_restarted", "worker_lost", "other")
_WORDS = {
    "was reset": "reset",
    "deadline passed": "deadline",
    OWNER_RESTARTED: "owner_restarted",
    "is silent": "worker_lost",
    " ended": "worker_lost",
    "the worker has it no more": "worker_lost",
}


def reason_class(reason: str) -> str:
    """One of `CLASSES` for the reason of a `…Failed` event."""
    return loss(reason) or next((word for part, word in _WORDS.items() if part in reason), "other")
