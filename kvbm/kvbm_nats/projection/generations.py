"""The files of a projection in SQLite.

`projection.db` is a link to the published generation, `projection.3.db`. A link, and not the file itself, because beside an
open SQLite file lie `-wal` and `-shm` under its name: another file put under that name would be read with their content.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from kvbm_nats.projection.errors import ProjectionConflict, ProjectionMissing, ProjectionUnavailable
from kvbm_tiers.file_lock import try_lock

_BESIDE = ("", "-wal", "-shm", "-journal")


class Generations:
    """See the module. Files are the user's alone, and so are folders that are made here."""

    def __init__(self, link: Path) -> None:
        self.link = link
        self._lock_fd: int | None = None

    def lock(self) -> None:
        """See `Backend.lock`."""
        for folder in reversed([self.link.parent, *self.link.parent.parents]):
            folder.mkdir(mode=0o700, exist_ok=True)
        lock_path = self.link.with_name(f"{self.link.name}.lock")
        fd = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not try_lock(fd):
            os.close(fd)
            raise ProjectionConflict(
                f"{self.link} has a projector",
                why=f"another process holds {lock_path.name}",
                hint="stop the other one, or give this one a file of its own",
            )
        self._lock_fd = fd

    def unlock(self) -> None:
        """See `Backend.unlock`."""
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    def published(self) -> Path:
        """The file that readers are led to.

        Raises:
            ProjectionMissing: there is none.
            ProjectionUnavailable: the name is that of another file.
        """
        if self.link.exists() and not self.link.is_symlink():
            raise ProjectionUnavailable(
                f"{self.link} is not a projection",
                why="a projection's name is a link to its newest generation",
                hint="choose another name",
            )
        file = self.link.resolve()
        if not file.exists() or file == self.link:
            raise ProjectionMissing(f"there is no projection at {self.link}", hint="start a projector for it first")
        return file

    def newest(self) -> Path | None:
        """The file of the newest generation, published or not."""
        return max(self._all().items(), default=(0, None))[1]

    def create(self) -> Path:
        """An empty file for the next generation; those that were never published are removed."""
        published = self._published_or_none()
        generations = self._all()
        for file in generations.values():
            if file != published:
                remove(file)
        file = self.link.with_name(f"{self.link.stem}.{max(generations, default=0) + 1}{self.link.suffix}")
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        return file

    def publish(self, file: Path) -> None:
        """Lead readers to this file. The one before stays until `tidy`: some may just be opening it."""
        fresh = self.link.with_name(f"{self.link.name}.new")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(file.name)
        fresh.replace(self.link)

    def tidy(self) -> None:
        """Remove what is older than what readers are led to."""
        published = self._published_or_none()
        generations = self._all()
        number = next((number for number, file in generations.items() if file == published), 0)
        for older, file in generations.items():
            if older < number:
                remove(file)

    def is_published(self, file: Path) -> bool:
        """Whether readers are led to this file."""
        return self._published_or_none() == file

    def has_published(self) -> bool:
        """Whether readers are led anywhere."""
        return self._published_or_none() is not None

    def _published_or_none(self) -> Path | None:
        try:
            return self.published()
        except ProjectionMissing:
            return None

    def _all(self) -> dict[int, Path]:
        pattern = re.compile(rf"{re.escape(self.link.stem)}\.(\d+){re.escape(self.link.suffix)}")
        found = ((pattern.fullmatch(file.name), file) for file in self.link.parent.iterdir())
        return {int(match[1]): file for match, file in found if match}


def remove(file: Path) -> None:
    """Remove a database. Who has it open goes on reading it."""
    for suffix in _BESIDE:
        file.with_name(file.name + suffix).unlink(missing_ok=True)
