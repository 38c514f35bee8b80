"""What Prometheus is told: twenty-five names, counted behind the owner or read when somebody asks. `docs/metrics.md`.

Nothing here is called by an owner's commands: `Tally` counts events on the thread that writes the log, and the rest is
what parts keep anyway, read at each scrape.
"""

from kvbm_nats.metrics.catalog import METRICS, Metric
from kvbm_nats.metrics.endpoint import Measure, MetricsPlace, exposed, exposed_on_loop
from kvbm_nats.metrics.families import Families
from kvbm_nats.metrics.tally import Tally

__all__ = ["METRICS", "Families", "Measure", "Metric", "MetricsPlace", "Tally", "exposed", "exposed_on_loop"]
