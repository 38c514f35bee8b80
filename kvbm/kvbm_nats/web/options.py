"""What `kvbm web` serves, where, and to whom."""

from __future__ import annotations

import ipaddress

from msgspec import Struct

from kvbm_events.schema.errors import InvalidCommand

PORT = 4280
TOKEN_MIN = 16
"""Characters of a token at least: it can be tried as often as somebody likes."""


class WebOptions(Struct, frozen=True, kw_only=True):
    """See `kvbm web --help`.

    :ivar projection: URL of the projection that is read
    :ivar source_words: how commands that are shown name what is read, as `--projection …`
    :ivar log_words: the same for those that read the log itself, as `--nats-url …`
    """

    projection: str
    source_words: tuple[str, ...] = ()
    log_words: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    port: int = PORT
    token: str = ""
    allowed_hosts: tuple[str, ...] = ()

    def check(self) -> None:
        """Refuse to show to a network what only this machine may see.

        Raises:
            InvalidCommand: the host is not loopback and there is no token, or the token is short.
        """
        if self.token and len(self.token) < TOKEN_MIN:
            raise InvalidCommand(
                f"a token of {len(self.token)} characters",
                why=f"it can be guessed; at least {TOKEN_MIN} are asked for",
                hint="KVBM_WEB_TOKEN=$(openssl rand -hex 32)",
            )
        if not self.token and not self.is_loopback:
            raise InvalidCommand(
                f"no token, and {self.host} is not this machine alone",
                why="whoever reaches it would read names of requests and the hashes of prompts",
                hint="set KVBM_WEB_TOKEN to a long secret, or leave --host out and use ssh -L",
            )

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False
