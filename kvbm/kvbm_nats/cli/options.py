"""Options that several commands share: where NATS is, and which instance is meant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from kvbm_events.subjects import check_instance


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class NatsOptions:
    """Take it as a keyword argument, `nats: NatsOptions | None = None`, and use `nats or NatsOptions()`."""

    nats_url: Annotated[str, Parameter(env_var="KVBM_NATS_URL", help="Address of the NATS server.")] = (
        "nats://127.0.0.1:4222"
    )
    instance: Annotated[str, Parameter(env_var="KVBM_INSTANCE", help="Name of the model replica.")] = "default"

    def __post_init__(self) -> None:
        """Refuse what cannot be a token of a subject.

        Raises:
            InvalidCommand: the instance's name has other characters than letters, digits, `_` and `-`.
        """
        check_instance(self.instance)


Stores = Annotated[tuple[str, ...], Parameter(name="--store", negative_iterable="", env_var="KVBM_STORES")]
"""`--store TIER=URL`, as often as there are tiers; in the environment with blanks between them."""
