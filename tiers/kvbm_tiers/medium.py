"""Where a tier's blocks lie, as people write it: `g3=slab:/mnt/nvme`, `g4=s3://bucket/prefix?region=eu-west-1`.

A medium is a URL, and its scheme says what kind of memory it is. A kind is one line in `openers.OPENERS`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import get_args
from urllib.parse import parse_qsl, urlsplit

from msgspec import Struct

from kvbm_events.schema import TierName
from kvbm_events.schema.errors import InvalidCommand

_STORE = re.compile(r"(?P<tier>g[1-4])=(?P<url>\S+)")


class Medium(Struct, frozen=True, kw_only=True):
    """A parsed URL.

    :ivar scheme: what kind of memory: `cpu`, `arena`, `slab`
    :ivar host: what stands after `//`: a bucket, the name of a process; empty for a path
    :ivar path: of a folder, or within a bucket
    :ivar options: what stands after `?`
    """

    scheme: str
    host: str = ""
    path: str = ""
    options: Mapping[str, str] = {}

    @classmethod
    def parse(cls, url: str) -> Medium:
        """Read a URL.

        Raises:
            InvalidCommand: it has no scheme, or names an option twice.
        """
        try:
            parts = urlsplit(url)
            pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        except ValueError as error:
            raise InvalidCommand(f"store {url!r}", why=str(error)) from error
        options = dict(pairs)
        if not parts.scheme or parts.fragment or len(options) < len(pairs):
            raise InvalidCommand(
                f"store {url!r}", why="a store is SCHEME:PLACE, each option once", hint="g3=slab:/mnt/nvme"
            )
        return cls(scheme=parts.scheme, host=parts.netloc, path=parts.path, options=options)

    def take(self, *known: str) -> dict[str, str]:
        """Its options, all of which must be among `known`.

        Raises:
            InvalidCommand: one is not; the message names it.
        """
        if unknown := sorted(self.options.keys() - set(known)):
            why = f"{self.scheme} has no option {', '.join(unknown)}"
            raise InvalidCommand(f"store {self}", why=why, hint=", ".join(known) or "it has none")
        return dict(self.options)

    def __str__(self) -> str:
        return f"{self.scheme}:{f'//{self.host}' if self.host else ''}{self.path}"


Media = Mapping[TierName, Medium]


def parse_media(stores: Iterable[str]) -> dict[TierName, Medium]:
    """The medium of each tier of `TIER=URL`.

    Raises:
        InvalidCommand: one is not written so, or a tier is named twice.
    """
    media: dict[TierName, Medium] = {}
    for store in stores:
        match = _STORE.fullmatch(store)
        tier = next((name for name in get_args(TierName) if match and name == match["tier"]), None)
        if not match or not tier or tier in media:
            raise InvalidCommand(
                f"store {store!r}", why="a store is TIER=URL, each tier once", hint="g3=slab:/mnt/nvme"
            )
        media[tier] = Medium.parse(match["url"])
    return media


def in_folder(folder: Path) -> dict[TierName, Medium]:
    """g2 and g3 in files in one folder."""
    place = str(folder.absolute())
    return {"g2": Medium(scheme="arena", path=place), "g3": Medium(scheme="slab", path=place)}
