"""The sidecar of a survivor: a small JSON file beside it that says what is in it."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
from msgspec import Struct

from kvbm_tiers.errors import StoreDamaged
from kvbm_tiers.layout import Layout, refuse_other

FORMAT = 1


class Sidecar(Struct, frozen=True, kw_only=True):
    """What is in a survivor.

    :ivar namespace: of its blocks
    :ivar capacity: slots
    :ivar incarnation: a random name of these contents
    """

    namespace: str
    layout: Layout
    capacity: int
    block_bytes: int
    slot_bytes: int
    incarnation: str
    format: int = FORMAT

    @property
    def size(self) -> int:
        """Of the file beside it, in bytes."""
        return self.capacity * self.slot_bytes

    def check(self, wanted: Sidecar) -> None:
        """Refuse contents that are not of this namespace and layout.

        Raises:
            NamespaceMismatch: they are not; the message names the field.
        """
        refuse_other("namespace", self.namespace, wanted.namespace)
        self.layout.check(wanted.layout)
        refuse_other("block_bytes", self.block_bytes, wanted.block_bytes)
        refuse_other("slot_bytes", self.slot_bytes, wanted.slot_bytes)


class _Format(Struct):
    format: int


def path_of(store: Path) -> Path:
    """Where the sidecar of a file lies."""
    return store.with_name(store.name + ".json")


def load(store: Path) -> Sidecar | None:
    """The sidecar of a file; None where there is none.

    Raises:
        StoreDamaged: it cannot be read, or was written by a newer version.
    """
    path = path_of(store)
    try:
        return decode_sidecar(path.read_bytes(), str(path))
    except FileNotFoundError:
        return None


def decode_sidecar(data: bytes, place: str) -> Sidecar:
    """Read a sidecar that lies at `place`.

    Raises:
        StoreDamaged: it cannot be read, or was written by a newer version.
    """
    try:
        number = msgspec.json.decode(data, type=_Format).format
        if number != FORMAT:
            raise StoreDamaged(
                f"{place} has format {number}", why=f"this version reads format {FORMAT}", hint="reset it, or upgrade"
            )
        return msgspec.json.decode(data, type=Sidecar)
    except msgspec.DecodeError as error:
        raise StoreDamaged(f"{place} cannot be read", why=str(error), hint="reset it") from error


def encode_sidecar(sidecar: Sidecar) -> bytes:
    """A sidecar as it is written, for people too."""
    return msgspec.json.format(msgspec.json.encode(sidecar)) + b"\n"


def save(store: Path, sidecar: Sidecar) -> None:
    """Write it so that after any crash it is there whole, or not at all."""
    path = path_of(store)
    draft = path.with_name(path.name + ".new")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with open(fd, "wb") as file:  # noqa: PTH123 - it is open already, with the mode that it must have
        file.write(encode_sidecar(sidecar))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    _sync_folder(path.parent)


def remove(store: Path) -> None:
    """From here on nothing tells what is in the file."""
    path_of(store).unlink(missing_ok=True)
    _sync_folder(store.parent)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
