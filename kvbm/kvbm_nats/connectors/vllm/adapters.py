"""What LoRA adapters weigh: vLLM's block hashes have an adapter's name and path, and nothing of what is in its files (ADR 31)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import structlog

_FILES = "adapter_*"
"""Configuration and weights, as PEFT names them and vLLM reads them."""

_logger = structlog.get_logger(__name__)


class AdapterRequest(Protocol):
    """`vllm.lora.request.LoRARequest`."""

    lora_name: str
    lora_path: str


class _Read(NamedTuple):
    """What was read of a folder, and by what one sees that it is no longer that."""

    stamps: Sequence[tuple[int, ...]]
    digest: bytes


class Adapters:
    """The adapters of one engine. A path has one content as long as the engine runs, since vLLM does not read it again."""

    def __init__(self) -> None:
        self._known: dict[str, _Read | None] = {}

    def digest(self, adapter: AdapterRequest | None) -> bytes | None:
        """What the keys of a request's blocks must have beside vLLM's hash; None where that is not to be known."""
        if adapter is None:
            return b""
        path = adapter.lora_path
        try:
            known = self._known[path] = self._look(path)
        except OSError as error:
            known = self._known[path] = None
            _logger.warning("blocks of an adapter are not kept", adapter=adapter.lora_name, path=path, why=str(error))
        return known.digest if known else None

    def _look(self, path: str) -> _Read | None:
        """Read what is in a folder, if that was not done, or if it looks different since.

        Raises:
            OSError: it cannot be read, or is not what it was.
        """
        known = self._known.get(path)
        if path in self._known and known is None:
            return None
        files = sorted(Path(path).expanduser().glob(_FILES))
        if not files:
            raise FileNotFoundError(f"there is no {_FILES} in a folder of that name")
        stamps = [(each.st_ino, each.st_size, each.st_mtime_ns, each.st_ctime_ns) for each in map(Path.stat, files)]
        if known and known.stamps == stamps:
            return known
        digest = _digest(files)
        if known and known.digest != digest:
            raise OSError("its files are not those that the engine may have loaded: restart it, or use another path")
        return _Read(stamps, digest)


def _digest(files: Sequence[Path]) -> bytes:
    whole = hashlib.sha256()
    for each in files:
        with each.open("rb") as file:
            whole.update(each.name.encode() + b"\0" + hashlib.file_digest(file, "sha256").digest())
    return whole.digest()
