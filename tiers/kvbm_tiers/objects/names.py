"""What a block's object is called: `PREFIX/FINGERPRINT/SLICE/KEY/INSTANCE`.

The fingerprint is of all that must agree before bytes are reused, so engines that cannot read each other's blocks never
meet. The instance comes last: an object has one writer, which alone deletes it, and whoever has the same namespace finds
all copies of a block by a listing of its key (docs/adr/0008-one-writer-an-object.md).
"""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple

import msgspec
from msgspec import Struct

from kvbm_events.schema import KEY_DIGITS, is_packed
from kvbm_events.schema.errors import InvalidCommand
from kvbm_events.subjects import check_instance
from kvbm_tiers.layout import Layout
from kvbm_tiers.slicing import WHOLE, Slice

FORMAT = 1
"""Of an object: a packed block, and nothing else."""
_FINGERPRINT_DIGITS = 32
_PART = re.compile(r"[A-Za-z0-9._=-]+")
"""What every client writes into a URL as it is."""
_NAME_MAX = 1024
"""Bytes of an object's name, in S3 and Azure alike."""


class BlockName(NamedTuple):
    """What an object's name says."""

    key: str
    instance: str


class Names(Struct, frozen=True, kw_only=True):
    """The names of one instance's objects in one slice.

    :ivar prefix: in the bucket; empty for its root
    :ivar part: which slice of every block it is
    """

    prefix: str
    fingerprint: str
    instance: str
    part: Slice = WHOLE

    @classmethod
    def of(cls, prefix: str, namespace: str, layout: Layout, instance: str) -> Names:
        """The names of an instance with this namespace and layout.

        Raises:
            InvalidCommand: the prefix or the instance cannot be part of a name.
        """
        prefix = prefix.strip("/")
        if prefix and not all(_PART.fullmatch(part) and part.strip(".") for part in prefix.split("/")):
            raise InvalidCommand(
                f"prefix {prefix[:48]!r}", why="each part of it is letters, digits and -_.=, and not of dots alone"
            )
        names = cls(
            prefix=prefix,
            fingerprint=fingerprint(namespace, layout),
            instance=check_instance(instance),
            part=layout.part,
        )
        if len(names.of_block("0" * KEY_DIGITS).encode()) > _NAME_MAX:
            raise InvalidCommand(f"prefix {prefix[:48]!r}…", why=f"an object's name has at most {_NAME_MAX} bytes")
        return names

    @property
    def folder(self) -> str:
        """What the names of this slice's blocks begin with, of every instance."""
        return "/".join(filter(None, (self.prefix, self.fingerprint, f"{self.part.rank}of{self.part.ranks}")))

    @property
    def sidecar(self) -> str:
        """The name of the object that says what is in this instance's."""
        return f"{self.folder}/{self.instance}.json"

    def of_block(self, key: str, writer: str = "") -> str:
        """The name of this instance's object for a block, or of another writer's."""
        return f"{self.folder}/{key}/{writer or self.instance}"

    def parse(self, name: str) -> BlockName | None:
        """The block that an object of this slice has; None where it is something else."""
        key, _, instance = name.removeprefix(f"{self.folder}/").partition("/")
        is_block = len(key) == KEY_DIGITS and is_packed(key) and instance and "/" not in instance
        return BlockName(key, instance) if is_block else None


def fingerprint(namespace: str, layout: Layout) -> str:
    """32 hex digits that two engines have in common, in all their ranks, if they can read each other's blocks."""
    whole = msgspec.json.encode([FORMAT, namespace, layout.groups, layout.part.tp, layout.part.pp])
    return hashlib.sha256(whole).hexdigest()[:_FINGERPRINT_DIGITS]
