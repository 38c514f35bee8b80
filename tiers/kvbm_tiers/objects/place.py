"""Where object storage is, as `s3://BUCKET/PREFIX?endpoint=…` or `az://CONTAINER/PREFIX?endpoint=…` says it."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import Struct

from kvbm_events.schema.errors import InvalidCommand
from kvbm_tiers.medium import Medium

Via = Literal["obstore", "nixl"]
TIMEOUT_S = 10.0
REQUESTS, REQUESTS_MAX = 32, 1024


class Place(Struct, frozen=True, kw_only=True):
    """A bucket, or a container, and how it is asked.

    :ivar endpoint: of a store that is not Amazon's, or Microsoft's: `http://127.0.0.1:9000`
    :ivar addressing: whether the bucket stands in the path or in the host's name; `path` where there is an endpoint
    :ivar timeout_s: of one attempt of one request
    :ivar requests: under way at a time
    :ivar via: what moves the bytes
    """

    scheme: Literal["s3", "az"]
    bucket: str
    prefix: str = ""
    endpoint: str = ""
    region: str = ""
    addressing: Literal["path", "virtual", ""] = ""
    timeout_s: float = TIMEOUT_S
    requests: int = REQUESTS
    via: Via = "obstore"

    @classmethod
    def of(cls, medium: Medium) -> Place:
        """Read a medium.

        Raises:
            InvalidCommand: it names no bucket, an option that there is not or whose value cannot be, or a password.
        """
        options = medium.take("endpoint", "region", "addressing", "timeout_s", "requests", "via")
        flaw = ""
        if not medium.host:
            flaw = "it names no bucket"
        elif "@" in medium.host or "@" in options.get("endpoint", ""):
            raise InvalidCommand(
                "a store's URL", why="it has a name or a password in it", hint="the environment has those"
            )
        elif not options.get("endpoint", "http://").startswith(("http://", "https://")):
            flaw = "an endpoint begins with http:// or https://"
        try:
            fields = {"scheme": medium.scheme, "bucket": medium.host, "prefix": medium.path.strip("/"), **options}
            place = msgspec.convert(fields, cls, strict=False)
        except msgspec.ValidationError as error:
            flaw = str(error)
        else:
            if not flaw and place.timeout_s > 0 and 0 < place.requests <= REQUESTS_MAX:
                return place
        hint = f"{medium.scheme}://BUCKET/PREFIX?endpoint=http://127.0.0.1:9000&timeout_s=10"
        raise InvalidCommand(
            f"store {medium}", why=flaw or f"a time-out is above 0, and requests are 1 to {REQUESTS_MAX}", hint=hint
        )

    @property
    def is_virtual(self) -> bool:
        """Whether the bucket stands in the host's name."""
        return (self.addressing or ("path" if self.endpoint else "virtual")) == "virtual"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.prefix}"
