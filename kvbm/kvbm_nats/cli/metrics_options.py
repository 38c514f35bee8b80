"""Where a command answers Prometheus."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from kvbm_events.schema.errors import InvalidCommand
from kvbm_nats.metrics import MetricsPlace

PORT_MAX = 65_535


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class MetricsOptions:
    """Take it as a keyword argument, `metrics: MetricsOptions | None = None`, and use `metrics or MetricsOptions()`."""

    metrics_port: Annotated[
        int | None,
        Parameter(env_var="KVBM_METRICS_PORT", help="Where Prometheus can ask, at /metrics; 0 is a free port."),
    ] = None
    metrics_host: Annotated[str, Parameter(env_var="KVBM_METRICS_HOST", help="The address it listens on.")] = (
        "127.0.0.1"
    )

    def place(self) -> MetricsPlace | None:
        """Where to listen; None where no port was given.

        Raises:
            InvalidCommand: there is no such port.
        """
        if self.metrics_port is None:
            return None
        if not 0 <= self.metrics_port <= PORT_MAX:
            raise InvalidCommand(f"--metrics-port {self.metrics_port}", why=f"a port is 0 to {PORT_MAX}")
        return MetricsPlace(self.metrics_host, self.metrics_port)
