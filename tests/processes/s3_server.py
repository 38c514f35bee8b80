"""An S3 server for tests: `s3_server.py FOLDER PORT`; path-style, no authentication, no multipart upload. It prints its port.

FOLDER has a folder a bucket. `PUT /-/faults` sets what goes wrong, `GET /-/requests` tells what was asked.
"""

import asyncio
import json
import sys
from collections.abc import Coroutine
from contextlib import suppress
from email.utils import formatdate
from pathlib import Path
from urllib.parse import parse_qs, unquote

from support.s3_faults import Fault, after, before
from support.s3_objects import Answer, Bucket, Request, answer


class Server:
    """Buckets, faults, and what was asked."""

    def __init__(self, folder: Path) -> None:
        self.buckets = {each.name: Bucket(each) for each in folder.iterdir()}
        self.faults: list[Fault] = []
        self.requests: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one client, request after request, until one of the two has enough."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                request = await read_request(reader, writer)
                if request.bucket == "-":
                    await send(writer, request, self.control(request))
                    continue
                self.requests.append(f"{request.method} {request.key}")
                await self.answer(request, reader, writer)
        writer.close()

    def control(self, request: Request) -> Answer:
        if request.method == "PUT":
            self.faults = [Fault(**each) for each in json.loads(request.body)]
            self.requests.clear()
        return Answer(body=json.dumps(self.requests).encode())

    async def answer(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        bucket = self.buckets.get(request.bucket)
        fault = next((fault for fault in self.faults if fault.hits(request)), None)
        if fault is None:
            await send(writer, request, answer(bucket, request))
            return
        said, only = await unless_left(reader, trouble(fault, request, bucket))
        await send(writer, request, said, only)
        if fault.kind == "stall":
            await reader.read()
        if only is not None:
            raise ConnectionAbortedError


async def trouble(fault: Fault, request: Request, bucket: Bucket | None) -> tuple[Answer, int | None]:
    """An answer as the fault leaves it, and after how many bytes of its body it stops."""
    instead = await before(fault, request, bucket)
    return (instead, None) if instead else await after(fault, answer(bucket, request))


async def unless_left(
    reader: asyncio.StreamReader, work: Coroutine[None, None, tuple[Answer, int | None]]
) -> tuple[Answer, int | None]:
    """Do the work unless the client has enough of waiting and goes away."""
    leaving, working = asyncio.ensure_future(reader.read(1)), asyncio.ensure_future(work)
    await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
    for each in (leaving, working):
        each.cancel()
    await asyncio.wait((leaving, working))
    if working.cancelled():
        raise ConnectionResetError
    return working.result()


async def read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin1").split("\r\n")
    method, target, _ = lines[0].split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)}
    if headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    path, _, query = target.partition("?")
    bucket, _, key = unquote(path).lstrip("/").partition("/")
    return Request(
        method, bucket, key, parse_qs(query, keep_blank_values=True), headers, await read_body(reader, headers)
    )


async def read_body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding", "").lower() != "chunked":
        return await reader.readexactly(int(headers.get("content-length", "0")))
    body = bytearray()
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readuntil(b"\r\n")
    return bytes(body)


async def send(writer: asyncio.StreamWriter, request: Request, answer: Answer, only: int | None = None) -> None:
    head = {"Content-Length": str(len(answer.body)), "Date": formatdate(usegmt=True), **answer.headers}
    lines = [f"HTTP/1.1 {answer.status}", *(f"{name}: {value}" for name, value in head.items()), "", ""]
    writer.write("\r\n".join(lines).encode())
    if request.method != "HEAD":
        writer.write(answer.body[:only])
    await writer.drain()


async def main(folder: Path, port: int) -> None:
    server = await asyncio.start_server(Server(folder).serve, "127.0.0.1", port, limit=1 << 24)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - its parent reads the port
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
