"""Compiled kernels on disk, for the next process.

An entry is named by what it was made of and by its own digest. So it is written once, whole or not at all, and one that
was changed or cut is found out, removed and made again. The folder is ours alone: who can write there runs code as us.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import structlog

_logger = structlog.get_logger(__name__)
FOLDER_ENV = "KVBM_KERNEL_CACHE"
ENTRIES_MAX = 64
_DIGITS = 32


def default_folder() -> Path:
    """`KVBM_KERNEL_CACHE`, or a folder of the user's cache."""
    if named := os.environ.get(FOLDER_ENV):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kvbm-nats" / "kernels"


def key_of(*parts: object) -> str:
    """A name for what is made of these parts."""
    digest = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()[:_DIGITS]


class Cache:
    """At most `entries_max` files; those go first that were used longest ago."""

    def __init__(self, folder: Path | None = None, *, entries_max: int = ENTRIES_MAX) -> None:
        """Open a folder, or make it. One that cannot be used is stood in for by one that ends with the process."""
        self.folder, self._entries_max = folder or default_folder(), entries_max
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            flaw = _flaw_of(self.folder)
        except OSError as error:
            flaw = str(error)
        if flaw:
            _logger.warning("kernels are compiled again by every process", folder=str(self.folder), why=flaw)
            self.folder = Path(tempfile.mkdtemp(prefix="kvbm-kernels-"))
            atexit.register(shutil.rmtree, self.folder, ignore_errors=True)

    def path(self, key: str, suffix: str, make: Callable[[], bytes]) -> Path:
        """The file of an entry, made if it is not there.

        Raises:
            OSError: it could not be written.
        """
        return self._find(key, suffix) or self._add(key, suffix, make())

    def _find(self, key: str, suffix: str) -> Path | None:
        for path in self.folder.glob(f"{key}.*.{suffix}"):
            try:
                if path.name == _name(key, path.read_bytes(), suffix):
                    os.utime(path)
                    return path
                path.unlink()
                _logger.warning("a compiled kernel was damaged, and is made again", path=str(path))
            except OSError as error:
                _logger.warning("a compiled kernel cannot be read, and is made again", path=str(path), why=str(error))
        return None

    def _add(self, key: str, suffix: str, data: bytes) -> Path:
        path = self.folder / _name(key, data, suffix)
        fd, draft = tempfile.mkstemp(prefix=".draft-", dir=self.folder)
        try:
            with open(fd, "wb") as file:  # noqa: PTH123 - it is open already, under a name that nobody else has
                file.write(data)
            Path(draft).replace(path)
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise
        self._remove_oldest()
        return path

    def _remove_oldest(self) -> None:
        entries = sorted(self.folder.iterdir(), key=_used_at)
        for path in entries[: max(0, len(entries) - self._entries_max)]:
            path.unlink(missing_ok=True)


def _name(key: str, data: bytes, suffix: str) -> str:
    return f"{key}.{hashlib.sha256(data).hexdigest()[:_DIGITS]}.{suffix}"


def _used_at(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:  # another process has just removed it
        return 0


def _flaw_of(folder: Path) -> str:
    """Why kernels cannot be kept there, or nothing."""
    found = folder.stat()
    if found.st_uid != os.geteuid():
        return "it belongs to another user"
    if found.st_mode & 0o022:
        return "others can write to it"
    return "" if os.access(folder, os.W_OK) else "it cannot be written to"
