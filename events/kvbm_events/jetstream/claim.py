"""Claiming an instance: the `Opened` of a new epoch is appended right after what its owner has read, or not at all.

Rules
1. The server compares: the last message on any subject of the instance must be the one that the owner knows.
2. A time-out, like a refusal, may hide a success. What counts is what is stored right after that message: ours, or
   another's.
3. Two owners may claim the same epoch with the same message id, so a claim carries a token of its own.
"""

from __future__ import annotations

import secrets

import msgspec

from kvbm_events.codec import encode
from kvbm_events.jetstream.api import (
    WRONG_LAST_SEQUENCE,
    WRONG_LAST_SEQUENCE_IN_PROCESS,
    Api,
    PubAck,
    log_full,
)
from kvbm_events.jetstream.options import STREAM
from kvbm_events.jetstream.wire import EXPECTED_SEQ, EXPECTED_SUBJECT, MESSAGE_ID
from kvbm_events.log import fenced, lost_end
from kvbm_events.schema import Opened
from kvbm_events.subjects import events_of, message_id, subject_of

CLAIM = "Kvbm-Claim"


async def claim(api: Api, instance: str, opened: Opened, after: int) -> int:
    """Append `opened` as the instance's next entry after `after`; its sequence.

    Raises:
        Fenced: another entry is there.
        LogGap: the instance's log ends before `after`.
        LogFull, LogUnavailable: as they say.
    """
    attempt = _Claim(api, instance, opened, after)
    return await api.connection.persist(attempt.make)


class _Claim:
    def __init__(self, api: Api, instance: str, opened: Opened, after: int) -> None:
        self._api, self._instance, self._after = api, instance, after
        self._filter = events_of(instance)
        self._token = secrets.token_hex(16)
        self._subject, self._data = subject_of(instance, opened), encode(opened)
        self._headers = {
            MESSAGE_ID: message_id(instance, opened.epoch, opened.n),
            EXPECTED_SEQ: str(after),
            EXPECTED_SUBJECT: self._filter,
            CLAIM: self._token,
        }

    async def make(self) -> int:
        """One attempt. It may be made again after `LogUnavailable`: what it did the last time is found out."""
        reply = await self._api.request(self._subject, self._data, self._headers)
        ack = msgspec.json.decode(reply, type=PubAck)
        if ack.error is None and not ack.duplicate:
            return ack.seq
        if ack.error and ack.error.is_full:
            raise log_full(ack.error)
        if ack.error and ack.error.err_code not in {WRONG_LAST_SEQUENCE, WRONG_LAST_SEQUENCE_IN_PROCESS}:
            raise self._api.connection.unavailable(f"the claim was refused: {ack.error.description}")
        return await self._find()

    async def _find(self) -> int:
        """Who stands right after `after`: this claim, another one, or nobody."""
        found = await self._api.message(STREAM, seq=self._after + 1, next_by_subj=self._filter)
        if found and found.headers.get(CLAIM) == self._token:
            return found.seq
        if found:
            raise fenced(self._instance, f"its log goes on at {found.seq}, and this owner knows it up to {self._after}")
        last = await self._api.message(STREAM, last_by_subj=self._filter)
        if last and last.seq == self._after:
            raise self._api.connection.unavailable("another claim of the instance is under way")
        raise lost_end(last.seq if last else 0, self._after)
