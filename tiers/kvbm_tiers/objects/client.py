"""Object storage by name: one request each, bounded in time, and errors in a few words that hold nobody's secrets.

The client is obstore, which speaks S3 and Azure alike. It is imported when a client is opened, not before. Credentials
come from the environment (AWS_…, AZURE_…) and are never asked for, shown or kept here.
"""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from kvbm_events.schema.errors import InvalidCommand
from kvbm_tiers.errors import BlockLost, ObjectFailed, ObstoreUnavailable
from kvbm_tiers.mover import CORRUPT, GONE
from kvbm_tiers.objects.place import Place

RETRIES = 1
DELETE_MAX = 256
"""Names that are deleted with one request, where the store can do that."""
NO_SUCH_OBJECT = f"{GONE}: no such object"
_BEHIND_THE_END = "HTTP 416"
"""To a range that begins with the first byte: the object is there, and empty."""
_OF_OBJECT = ("NoSuchKey", "BlobNotFound", "The specified blob does not exist")
_OF_BUCKET = ("NoSuchBucket", "ContainerNotFound")
_SIGNS = {
    "kind: Timeout": "timed out",
    "TimedOut": "timed out",
    "kind: Connect": "no connection",
    "IncompleteBody": "the answer broke off",
    "IncompleteMessage": "the answer broke off",
}
"""What obstore's errors have in them, and what it means. Their own text may show a signed URL, and is never passed on."""
_OPENED_BY = {
    "s3": (
        "AWS_ACCESS_KEY_ID",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    ),
    "az": (
        "AZURE_STORAGE_ACCOUNT_KEY",
        "AZURE_STORAGE_SAS_TOKEN",
        "AZURE_STORAGE_TOKEN",
        "AZURE_CLIENT_ID",
        "AZURE_FEDERATED_TOKEN_FILE",
    ),
}
"""Variables of which one is to be there. Without, obstore would ask the machine's metadata service, for minutes."""


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
        with _failures_in_words():
            self._obstore.put(self._store, name, data, use_multipart=False)

    def get(self, name: str, target: memoryview) -> None:
        """Read an object that has exactly as many bytes as `target`; of a longer one no more is fetched than shows it.

        Raises:
            BlockLost: it is not there, or has another length.
            ObjectFailed: it could not be read, and may be there all the same.
        """
        with _failures_in_words(wanted_bytes=len(target)):
            answer = self._obstore.get(self._store, name, options={"range": (0, len(target) + 1)})
            size_bytes, found = int(answer.meta["size"]), answer.bytes()
        for length in (size_bytes, len(found)):
            if length != len(target):
                raise _of_length(length, len(target))
        target[:] = memoryview(found)

    def size_bytes(self, name: str) -> int:
        """How long an object is. A GET of one byte: unlike a HEAD, its answer says what a 404 is of.

        Raises:
            BlockLost, ObjectFailed: see `get`.
        """
        with _failures_in_words(wanted_bytes=1):
            return int(self._obstore.get(self._store, name, options={"range": (0, 1)}).meta["size"])

    def delete(self, names: Sequence[str]) -> None:
        """Delete objects, at most `DELETE_MAX`; those that are not there are deleted.

        Raises:
            ObjectFailed: some of them may still be there.
        """
        with _failures_in_words():
            if not self._delete(names) and len(names) > 1:
                for name in names:
                    self._delete([name])

    def _delete(self, names: Sequence[str]) -> bool:
        """Whether all were there; where one was missing, Azure may have left those behind it."""
        try:
            self._obstore.delete(self._store, list(names))
        except FileNotFoundError as error:
            if reason_of_failure(error) != NO_SUCH_OBJECT:
                raise
            return False
        return True

    def objects(self, prefix: str) -> Iterator[Stored]:
        """Objects whose names begin so, in a folder's sense: `a/b` finds `a/b/c` and not `a/bc`.

        Raises:
            ObjectFailed: the listing broke off.
        """
        with _failures_in_words():
            for page in self._obstore.list(self._store, prefix):
                for each in page:
                    yield Stored(each["path"], each["size"], each["last_modified"])

    def folders(self, prefix: str) -> list[str]:
        """The folders right below a prefix, by their whole names.

        Raises:
            ObjectFailed: the store does not say.
        """
        with _failures_in_words():
            return list(self._obstore.list_with_delimiter(self._store, prefix or None)["common_prefixes"])


def reason_of_failure(error: Exception) -> str:
    """An error of obstore's in a report's words: `HTTP 500`, `timed out`, `gone: no such object`."""
    text = str(error)
    if isinstance(error, FileNotFoundError):
        if any(sign in text for sign in _OF_BUCKET):
            return "no such bucket"
        # A 404 that is not of the store's own making, as a proxy's, says nothing of the object.
        return NO_SUCH_OBJECT if any(sign in text for sign in _OF_OBJECT) else "HTTP 404"
    if status := re.search(r"status code: (\d{3})", text):
        return f"HTTP {status[1]}"
    return next((meaning for sign, meaning in _SIGNS.items() if sign in text), type(error).__name__)


@contextmanager
def _failures_in_words(wanted_bytes: int = 0) -> Iterator[None]:
    """Whatever obstore raises becomes an error of ours, with nothing of its text behind it.

    Args:
        wanted_bytes: of the object that is read; 0 where none is, and so none can be found to be lost
    """
    try:
        yield
    except Exception as error:  # noqa: BLE001 - obstore's have no base but this
        reason = reason_of_failure(error)
        if wanted_bytes and reason == NO_SUCH_OBJECT:
            raise BlockLost(reason) from None
        if wanted_bytes and reason == _BEHIND_THE_END:
            raise _of_length(0, wanted_bytes) from None
        raise ObjectFailed("HTTP 404" if reason == NO_SUCH_OBJECT else reason) from None


def _of_length(found: int, wanted: int) -> BlockLost:
    return BlockLost(f"{CORRUPT}: {found} of {wanted} bytes")


def open_client(place: Place) -> ObjectClient:
    """A client for a bucket. Nothing is asked of the store yet.

    Raises:
        ObstoreUnavailable: obstore is not installed.
        InvalidCommand: the environment has no credentials, or the place is not as obstore wants it.
    """
    _obstore()
    names = _OPENED_BY[place.scheme]
    if not any(os.environ.get(name) for name in names):
        raise InvalidCommand(
            f"store {place}", why="the environment has no credentials", hint=f"set {', or '.join(names)}"
        )
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
    except Exception as error:  # noqa: BLE001 - obstore's have no base but this
        raise InvalidCommand(f"store {place}", why=f"obstore does not take it: {type(error).__name__}") from None


def _obstore() -> Any:  # noqa: ANN401 - it may not be installed
    try:
        return importlib.import_module("obstore")
    except ImportError as error:
        raise ObstoreUnavailable(
            "obstore is not installed",
            why="object storage is reached through it",
            hint="pip install 'kvbm-nats[object]'",
        ) from error
