"""Object storage by name: one request each, bounded in time, and errors in a few words that hold nobody's secrets.

The client is obstore, which speaks S3 and Azure alike. It is imported when a client is opened, not before. Credentials
come from the environment (AWS_…, AZURE_…) and are never asked for, shown or kept here.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from kvbm_events.schema.errors import InvalidCommand
from kvbm_tiers.errors import BlockLost, ObjectFailed, ObstoreUnavailable
from kvbm_tiers.mover import CORRUPT, GONE
from kvbm_tiers.objects.place import Place

RETRIES = 1
DELETE_MAX = 256
"""Names that are deleted with one request, where the store can do that."""
_NO_SUCH_OBJECT = ("NoSuchKey", "BlobNotFound", "The specified blob does not exist")
_NO_SUCH_BUCKET = ("NoSuchBucket", "ContainerNotFound")
_SIGNS = {
    "kind: Timeout": "timed out",
    "TimedOut": "timed out",
    "kind: Connect": "no connection",
    "IncompleteBody": "the answer broke off",
    "IncompleteMessage": "the answer broke off",
}
"""What obstore's errors have in them, and what it means. Their own text may show a signed URL, and is not passed on."""


class Stored(NamedTuple):
    """An object as a listing has it."""

    name: str
    size_bytes: int
    modified: datetime


class ObjectClient:
    """Requests to one bucket or container. Any thread may call; every call ends, at the latest after `patience_s`."""

    def __init__(self, store: Any, timeout_s: float) -> None:  # noqa: ANN401 - obstore may not be installed
        """Take a store of obstore's that was made with this time-out. `open_client` makes one."""
        self._obstore: Any = _obstore()
        self._store = store
        self.patience_s = (RETRIES + 1) * timeout_s + 1.0

    def put(self, name: str, data: memoryview) -> None:
        """Write an object, whole or not at all.

        Raises:
            ObjectFailed: it was not written, as far as is known.
        """
        try:
            self._obstore.put(self._store, name, data, use_multipart=False)
        except Exception as error:
            raise ObjectFailed(reason_of_failure(error)) from error

    def get(self, name: str, target: memoryview) -> None:
        """Read an object that has exactly as many bytes as `target`; of a longer one no more is fetched than shows it.

        Raises:
            BlockLost: it is not there, or has another length.
            ObjectFailed: it could not be read, and may be there all the same.
        """
        try:
            answer = self._obstore.get(self._store, name, options={"range": (0, len(target) + 1)})
            size_bytes, found = int(answer.meta["size"]), answer.bytes()
        except Exception as error:
            raise _failure(error) from error
        for length in (size_bytes, len(found)):
            if length != len(target):
                raise BlockLost(f"{CORRUPT}: {length} of {len(target)} bytes")
        target[:] = memoryview(found)

    def size_bytes(self, name: str) -> int:
        """How long an object is. A GET of one byte: unlike a HEAD, its answer says what a 404 is of.

        Raises:
            BlockLost, ObjectFailed: see `get`.
        """
        try:
            return int(self._obstore.get(self._store, name, options={"range": (0, 1)}).meta["size"])
        except Exception as error:
            raise _failure(error) from error

    def delete(self, names: Sequence[str]) -> None:
        """Delete objects, at most `DELETE_MAX`; those that are not there are deleted.

        Raises:
            ObjectFailed: some of them may still be there.
        """
        try:
            self._obstore.delete(self._store, list(names))
        except FileNotFoundError as error:  # Azure ends a deletion of several at the first that is missing
            if len(names) > 1:
                for name in names:
                    self.delete([name])
            elif (reason := reason_of_failure(error)) in {_NO_BUCKET, "HTTP 404"}:
                raise ObjectFailed(reason) from error
        except Exception as error:
            raise ObjectFailed(reason_of_failure(error)) from error

    def objects(self, prefix: str) -> Iterator[Stored]:
        """Objects whose names begin so, in a folder's sense: `a/b` finds `a/b/c` and not `a/bc`.

        Raises:
            ObjectFailed: the listing broke off.
        """
        try:
            for page in self._obstore.list(self._store, prefix):
                for each in page:
                    yield Stored(each["path"], each["size"], each["last_modified"])
        except Exception as error:
            raise ObjectFailed(reason_of_failure(error)) from error

    def folders(self, prefix: str) -> list[str]:
        """The folders right below a prefix, by their whole names.

        Raises:
            ObjectFailed: the store does not say.
        """
        try:
            found = self._obstore.list_with_delimiter(self._store, prefix or None)
        except Exception as error:
            raise ObjectFailed(reason_of_failure(error)) from error
        return list(found["common_prefixes"])


_NO_BUCKET = "no such bucket"
_NO_OBJECT = f"{GONE}: no such object"


def reason_of_failure(error: Exception) -> str:
    """An error of obstore's in a report's words: `HTTP 500`, `timed out`, `gone: no such object`."""
    text = str(error)
    if isinstance(error, FileNotFoundError):
        if any(sign in text for sign in _NO_SUCH_BUCKET):
            return _NO_BUCKET
        # A 404 that is not of the store's own making, as a proxy's, says nothing of the object.
        return _NO_OBJECT if any(sign in text for sign in _NO_SUCH_OBJECT) else "HTTP 404"
    if status := re.search(r"status code: (\d{3})", text):
        return f"HTTP {status[1]}"
    return next((meaning for sign, meaning in _SIGNS.items() if sign in text), type(error).__name__)


def _failure(error: Exception) -> ObjectFailed:
    reason = reason_of_failure(error)
    return BlockLost(reason) if reason == _NO_OBJECT else ObjectFailed(reason)


def open_client(place: Place) -> ObjectClient:
    """A client for a bucket. Nothing is asked of the store yet.

    Raises:
        ObstoreUnavailable: obstore is not installed.
        InvalidCommand: the environment, or the place, is not as obstore wants it.
    """
    _obstore()
    kinds: Any = importlib.import_module("obstore.store")
    limit = timedelta(seconds=place.timeout_s)
    more: dict[str, Any] = {
        "client_options": {
            "timeout": limit,
            "connect_timeout": limit,
            "allow_http": place.endpoint.startswith("http://"),
        },
        "retry_config": {"max_retries": RETRIES, "retry_timeout": limit},
    }
    if place.endpoint:
        more["endpoint"] = place.endpoint
    if place.scheme == "s3":
        more["virtual_hosted_style_request"] = place.is_virtual
        more |= {"region": place.region} if place.region else {}
    kind = kinds.AzureStore if place.scheme == "az" else kinds.S3Store
    try:
        return ObjectClient(kind(place.bucket, **more), place.timeout_s)
    except Exception as error:
        raise InvalidCommand(f"store {place}", why=f"obstore does not take it: {type(error).__name__}") from error


def _obstore() -> Any:  # noqa: ANN401 - it may not be installed
    try:
        return importlib.import_module("obstore")
    except ImportError as error:
        raise ObstoreUnavailable(
            "obstore is not installed",
            why="object storage is reached through it",
            hint="pip install 'kvbm-nats[object]'",
        ) from error
