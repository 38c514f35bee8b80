"""Snapshots in JetStream's object store, bucket `KVBM_SNAPSHOTS`, and the marks that trims leave there.

Objects
    <instance>/<seq>     a folded state; its position, digest and time stand in the object's headers
    <instance>/trimmed   empty; its headers say up to which sequence the instance's entries were dropped

An object becomes visible with its last message, so a snapshot is there whole or not at all.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from nats.errors import Error as NatsError
from nats.js.api import ObjectInfo, ObjectMeta, ObjectMetaOptions
from nats.js.errors import NotFoundError
from nats.js.object_store import ObjectStore

from kvbm_events.jetstream.api import Api
from kvbm_events.jetstream.options import BUCKET, Options
from kvbm_events.log import Snapshot

CHUNK_BYTES = 512 << 10
"""Below every server's default limit of 1 MiB a message."""
TRANSFER_TIMEOUT_S = 120.0
"""The most that writing, reading or listing may take."""
_BUCKET_STREAM = f"OBJ_{BUCKET}"
_TRIMMED = "trimmed"


class Snapshots:
    """The snapshots of every instance; of each the newest `options.snapshots_kept` stay."""

    def __init__(self, api: Api, options: Options) -> None:
        self._api, self._options = api, options
        self._js = api.connection.nc.jetstream(timeout=options.timeout_s)
        self._store = ObjectStore(BUCKET, _BUCKET_STREAM, self._js)

    async def ensure_bucket(self, replicas: int) -> None:
        """Create the bucket where there is none. Raises LogUnavailable."""
        if await self._api.stream_info(_BUCKET_STREAM) is None:
            async with self._bucket():
                await self._js.create_object_store(BUCKET, replicas=replicas)

    async def save(self, snapshot: Snapshot) -> None:
        """Store a snapshot and drop the oldest ones. Raises LogUnavailable."""
        headers = {name: str(getattr(snapshot, name)) for name in ("epoch", "n", "seq", "at_us", "digest")}
        async with self._bucket() as bucket:
            await _put(bucket, f"{snapshot.instance}/{snapshot.seq}", headers, snapshot.state)
        for old in (await self._list(snapshot.instance))[: -self._options.snapshots_kept]:
            await self._api.purge(_BUCKET_STREAM, filter=_meta_subject(old.name))
            await self._api.purge(_BUCKET_STREAM, filter=f"$O.{BUCKET}.C.{old.nuid}")

    async def load(self, instance: str, until: int | None = None) -> Snapshot | None:
        """The newest at or before `until`. Raises LogUnavailable."""
        found = [info for info in await self._list(instance) if until is None or _seq(info) <= until]
        if not found:
            return None
        state, headers = io.BytesIO(), found[-1].headers or {}
        async with self._bucket() as bucket:
            await bucket.get(found[-1].name, writeinto=state)
        return Snapshot(
            instance=instance,
            epoch=int(headers["epoch"]),
            n=int(headers["n"]),
            seq=int(headers["seq"]),
            at_us=int(headers["at_us"]),
            digest=headers["digest"],
            state=state.getvalue(),
        )

    async def newest_seq(self, instance: str) -> int:
        """The sequence that the newest snapshot is true of; 0 where there is none. Raises LogUnavailable."""
        found = await self._list(instance)
        return _seq(found[-1]) if found else 0

    async def mark_trimmed(self, instance: str, seq: int) -> None:
        """Note that the instance's entries up to `seq` are dropped. Raises LogUnavailable."""
        async with self._bucket() as bucket:
            await _put(bucket, f"{instance}/{_TRIMMED}", {"seq": str(seq)}, b"")

    async def trimmed(self, instance: str) -> int:
        """Up to which sequence the instance's entries were dropped; 0 for none. Raises LogUnavailable."""
        found = await self._api.message(_BUCKET_STREAM, last_by_subj=_meta_subject(f"{instance}/{_TRIMMED}"))
        return _seq(ObjectInfo.from_response(json.loads(found.data))) if found else 0

    async def _list(self, instance: str) -> list[ObjectInfo]:
        """The instance's snapshots, oldest first."""
        try:
            async with self._bucket() as bucket:
                found = await bucket.list(ignore_deletes=True)
        except NotFoundError:
            return []
        prefix, mark = f"{instance}/", f"{instance}/{_TRIMMED}"
        return sorted((i for i in found if i.name.startswith(prefix) and i.name != mark), key=_seq)

    @asynccontextmanager
    async def _bucket(self) -> AsyncIterator[ObjectStore]:
        """The bucket, for no longer than `TRANSFER_TIMEOUT_S`. Raises NotFoundError, LogUnavailable."""
        try:
            async with asyncio.timeout(TRANSFER_TIMEOUT_S):
                yield self._store
        except NotFoundError:
            raise
        except (NatsError, OSError, TimeoutError) as error:
            why = f"snapshots: {error or type(error).__name__}"
            raise self._api.connection.unavailable(why) from error


async def _put(bucket: ObjectStore, name: str, headers: dict[str, str], data: bytes) -> None:
    options = ObjectMetaOptions(max_chunk_size=CHUNK_BYTES)
    await bucket.put(name, data, ObjectMeta(name=name, headers=headers, options=options))


def _seq(info: ObjectInfo) -> int:
    return int((info.headers or {})["seq"])


def _meta_subject(name: str) -> str:
    return f"$O.{BUCKET}.M.{base64.urlsafe_b64encode(name.encode()).decode()}"
