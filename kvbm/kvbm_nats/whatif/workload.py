"""What requests did, whatever became of it: the part of a recording that does not depend on a policy.

A request asks for its prompt, fills what it computes, and leaves. What it found is left out: that is what changes.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from kvbm_events.schema import ROOT


class Ask(Struct, frozen=True, gc=False):
    """A look-up.

    :ivar at_us: when, by the recording's clock
    :ivar keys: of the prompt, in prefix order
    :ivar parent: the key before the first
    :ivar had: how many of the first of them the recorded run found: where another does not, it computes them
    :ivar held: whether the request holds what it finds (a look-up may only ask)
    """

    at_us: int
    request: str
    keys: Sequence[str]
    had: int = 0
    held: bool = True
    priority: int = 50
    parent: str = ROOT


class Fill(Struct, frozen=True, gc=False):
    """Blocks that the request computed, one the parent of the next.

    :ivar stands: whether they stand on `parent`, so that without it they are not kept; blocks of a window need it not
    """

    at_us: int
    request: str
    keys: Sequence[str]
    parent: str = ROOT
    stands: bool = True


class Leave(Struct, frozen=True, gc=False):
    """The request lets go of everything."""

    at_us: int
    request: str


Step = Ask | Fill | Leave
