"""The errors of kvbm-nats. Each says what was refused, why, and what to do next.

KvbmError
├── RefusedError          a command that the state does not allow; nothing changed
│   ├── TierFull          no slot is free and none can be evicted
│   ├── UnknownRequest    nobody by that name holds anything here
│   ├── UnknownTier       the instance was opened without that tier
│   ├── UnknownTransfer   no such transfer is open
│   ├── TooManyRequests   the limit of open requests is reached
│   ├── BlockHeld         a request or transfer still uses the block
│   ├── InvalidCommand    an argument that no state would accept
│   └── NamespaceMismatch the bytes belong to another model, layout or hash scheme
├── IllegalTransition     the log and the table disagree; replay stops here
├── TransferFailed        bytes did not arrive, or not unharmed
└── LogError
    ├── InvalidEvent      bytes that are not an event of this schema
    ├── LogGap            events that were written are not there to be read
    ├── Fenced            another owner has claimed the instance
    ├── LogFull           the log has reached its limit
    └── LogUnavailable    the log cannot be reached, or does not answer in time
"""

from __future__ import annotations


class KvbmError(Exception):
    """Base of all. `what` happened, `why`, and the `hint` that a person can act on."""

    def __init__(self, what: str, *, why: str = "", hint: str = "") -> None:
        self.what, self.why, self.hint = what, why, hint
        text = f"{what}: {why}" if why else what
        super().__init__(f"{text}. Try: {hint}" if hint else text)


class RefusedError(KvbmError):
    """The state does not allow the command. Nothing was changed and nothing was logged."""


class TierFull(RefusedError):
    """No slot is free and none can be evicted."""


class UnknownRequest(RefusedError):
    """No open request has this name."""


class UnknownTier(RefusedError):
    """The instance was opened without this tier."""


class UnknownTransfer(RefusedError):
    """No open transfer has this name: it is over, or it never was."""


class TooManyRequests(RefusedError):
    """The instance's limit of open requests is reached."""


class BlockHeld(RefusedError):
    """A request or a transfer still uses a block that was to be evicted."""


class InvalidCommand(RefusedError):
    """An argument that no state would accept: a malformed key, a negative count, a limit passed."""


class NamespaceMismatch(RefusedError):
    """The kept blocks belong to another namespace: their bytes must not be reused."""


class IllegalTransition(KvbmError):
    """An event that the transition table does not allow in this state. The state is as it was before."""


class TransferFailed(KvbmError):
    """A transfer did not bring its bytes, or not unharmed."""


class LogError(KvbmError):
    """Base of what can go wrong between the owner and its log."""


class InvalidEvent(LogError):
    """Bytes that are not an event of this schema."""


class LogGap(LogError):
    """Events that were written are missing from what can be read."""


class Fenced(LogError):
    """Another owner has claimed the instance; this one must stop deciding."""


class LogFull(LogError):
    """The log has reached its byte limit and accepts nothing more."""


class LogUnavailable(LogError):
    """The log cannot be reached, or does not answer within its time-out."""
