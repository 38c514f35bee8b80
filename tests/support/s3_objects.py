"""What an S3 server answers when nothing goes wrong: objects by name in buckets, read whole or in part, listed, deleted."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate
from pathlib import Path
from urllib.parse import quote, unquote
from xml.sax.saxutils import escape, unescape

PAGE = 1000
XML = {"Content-Type": "application/xml"}


@dataclass
class Request:
    """One request, its body without transfer encodings."""

    method: str
    bucket: str
    key: str = ""
    query: dict[str, list[str]] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass
class Answer:
    """What goes back."""

    status: str = "200 OK"
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


class Bucket:
    """Objects by name, kept as files so that a server that was killed comes back with them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def names(self) -> list[str]:
        return sorted(unquote(file.name) for file in self._folder.iterdir() if not file.name.endswith(".new"))

    def put(self, name: str, data: bytes) -> None:
        path = self._path(name)
        draft = path.with_name(path.name + ".new")
        draft.write_bytes(data)
        draft.replace(path)

    def get(self, name: str) -> bytes | None:
        try:
            return self._path(name).read_bytes()
        except FileNotFoundError:
            return None

    def size(self, name: str) -> int:
        return self._path(name).stat().st_size

    def modified(self, name: str) -> float:
        """Seconds since 1970."""
        return self._path(name).stat().st_mtime

    def delete(self, name: str) -> None:
        self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self._folder / quote(name, safe="")


def missing(code: str) -> Answer:
    """There is no such thing."""
    return Answer("404 Not Found", XML, f"<Error><Code>{code}</Code></Error>".encode())


def answer(bucket: Bucket | None, request: Request) -> Answer:
    """What a store without faults says."""
    if bucket is None:
        return missing("NoSuchBucket")
    act = _ON_OBJECT.get(request.method) if request.key else _ON_BUCKET.get(request.method)
    return act(bucket, request) if act else Answer("501 Not Implemented")


def _put(bucket: Bucket, request: Request) -> Answer:
    is_chunked = "aws-chunked" in request.headers.get("content-encoding", "")
    bucket.put(request.key, _dechunked(request.body) if is_chunked else request.body)
    return Answer(headers={"ETag": '"x"'})


def _delete(bucket: Bucket, request: Request) -> Answer:
    bucket.delete(request.key)
    return Answer("204 No Content")


def _get(bucket: Bucket, request: Request) -> Answer:
    data = bucket.get(request.key)
    if data is None:
        return missing("NoSuchKey")
    head = {"ETag": '"x"', "Last-Modified": formatdate(bucket.modified(request.key), usegmt=True)}
    wanted = request.headers.get("range", "")
    if not wanted:
        return Answer(headers=head, body=data)
    first, _, last = wanted.removeprefix("bytes=").partition("-")
    start, end = int(first), min(int(last or len(data) - 1), len(data) - 1)
    if start > end:
        return Answer("416 Requested Range Not Satisfiable")
    head["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
    return Answer("206 Partial Content", head, data[start : end + 1])


def _list(bucket: Bucket, request: Request) -> Answer:
    """One page of a listing (ListObjectsV2); the token is the last name of the page before."""
    prefix, after, limit, delimiter = (
        request.query.get(word, [default])[0]
        for word, default in (("prefix", ""), ("continuation-token", ""), ("max-keys", str(PAGE)), ("delimiter", ""))
    )
    if delimiter:
        return _list_folders(bucket, prefix, delimiter)
    names = [name for name in bucket.names if name.startswith(prefix) and name > after]
    page = names[: int(limit)]
    is_cut = len(page) < len(names)
    rows = "".join(
        f"<Contents><Key>{escape(name)}</Key><Size>{bucket.size(name)}</Size><ETag>&quot;x&quot;</ETag>"
        f"<LastModified>{datetime.fromtimestamp(bucket.modified(name), UTC):%Y-%m-%dT%H:%M:%S.%fZ}</LastModified></Contents>"
        for name in page
    )
    token = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if is_cut else ""
    body = (
        f"<ListBucketResult><Prefix>{escape(prefix)}</Prefix><KeyCount>{len(page)}</KeyCount>"
        f"<IsTruncated>{str(is_cut).lower()}</IsTruncated>{token}{rows}</ListBucketResult>"
    )
    return Answer(headers=XML, body=body.encode())


def _list_folders(bucket: Bucket, prefix: str, delimiter: str) -> Answer:
    """What stands between the prefix and the next delimiter, each once."""
    inner = [name.removeprefix(prefix).partition(delimiter) for name in bucket.names if name.startswith(prefix)]
    folders = sorted({prefix + first + cut for first, cut, _ in inner if cut})
    rows = "".join(f"<CommonPrefixes><Prefix>{escape(each)}</Prefix></CommonPrefixes>" for each in folders)
    body = f"<ListBucketResult><IsTruncated>false</IsTruncated>{rows}</ListBucketResult>"
    return Answer(headers=XML, body=body.encode())


def _delete_many(bucket: Bucket, request: Request) -> Answer:
    if "delete" not in request.query:
        return Answer("501 Not Implemented")
    names = [unescape(name) for name in re.findall(r"<Key>(.*?)</Key>", request.body.decode())]
    for name in names:
        bucket.delete(name)
    gone = "".join(f"<Deleted><Key>{escape(name)}</Key></Deleted>" for name in names)
    return Answer(headers=XML, body=f"<DeleteResult>{gone}</DeleteResult>".encode())


def _dechunked(body: bytes) -> bytes:
    """The payload of an aws-chunked body, without its signatures and trailers."""
    out, at = bytearray(), 0
    while size := int(body[at : (end := body.index(b"\r\n", at))].split(b";")[0], 16):
        out += body[end + 2 : end + 2 + size]
        at = end + 2 + size + 2
    return bytes(out)


Act = Callable[[Bucket, Request], Answer]
_ON_OBJECT: dict[str, Act] = {"PUT": _put, "DELETE": _delete, "GET": _get, "HEAD": _get}
_ON_BUCKET: dict[str, Act] = {"GET": _list, "POST": _delete_many}
