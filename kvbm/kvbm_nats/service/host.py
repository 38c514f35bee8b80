"""One hosted instance: its owner, its leases, the answers it remembers, and its end.

Rules
1. Once the instance was claimed by another owner, nothing more is answered for it: the clients ask again, and the other
   one answers.
2. What the log refuses for any other reason is told to the clients; the instance is then not hosted any more either.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, TypeVar

import structlog
from msgspec import Struct

from kvbm_events.log import Log
from kvbm_events.schema.errors import Fenced, KvbmError, UnknownRequest
from kvbm_nats.manager import BlockManager
from kvbm_nats.service import messages as m
from kvbm_nats.service.answers import Answers, Reply
from kvbm_nats.service.config import InstanceConfig
from kvbm_nats.service.leases import Leases
from kvbm_nats.service.micro import EndpointPlan, Handler
from kvbm_nats.service.owner import TURN_S, OwnerThread
from kvbm_nats.service.verbs import Verbs
from kvbm_nats.service.wire import decode_call, encode, encode_error
from kvbm_tiers import Mover

C = TypeVar("C", bound=m.Call)
Connect = Callable[[], Awaitable[Log]]

LATE_S = 1.0
"""A turn that comes later than this was held up, and so were the clients' renewals."""

_logger = structlog.get_logger(__name__)
