"""One scrape's answer while it is being gathered: samples by metric of the catalog."""

from __future__ import annotations

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as Family

from kvbm_nats.metrics.catalog import METRICS, Metric
from kvbm_nats.metrics.histogram import Histogram


class Families:
    """See the module."""

    def __init__(self) -> None:
        self._numbers = {
            metric: (CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily)(
                metric.name, metric.help, labels=metric.labels
            )
            for metric in METRICS
            if metric.kind != "histogram"
        }
        self._histograms = {
            metric: HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
            for metric in METRICS
            if metric.kind == "histogram"
        }

    def add(self, metric: Metric, value: float, *labels: object) -> None:
        """One sample of a counter or a gauge; the labels in the order of the catalog."""
        self._numbers[metric].add_metric([*map(str, labels)], value)

    def add_histogram(self, metric: Metric, histogram: Histogram, *labels: object) -> None:
        """A histogram as it is now."""
        self._histograms[metric].add_metric([*map(str, labels)], histogram.buckets(), histogram.sum)

    def told(self) -> list[Family]:
        """Those that have samples."""
        return [family for family in [*self._numbers.values(), *self._histograms.values()] if family.samples]
