"""What a command answers Prometheus, read as Prometheus reads it."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Iterable

from prometheus_client.parser import text_string_to_metric_families

from kvbm_nats.metrics import METRICS

ANY_PORT = "--metrics-port=0"


def url_of(said: Iterable[str]) -> str:
    """Where a command says that its metrics are."""
    lines = [json.loads(line) for line in said if '"event": "metrics"' in line]
    return str(lines[-1]["url"])


class Scrape:
    """One answer. Every series in it is of the catalog, with its labels."""

    def __init__(self, text: str) -> None:
        families = list(text_string_to_metric_families(text))
        catalog = {metric.name: metric for metric in METRICS}
        for family in families:
            metric = catalog[f"{family.name}_total" if family.type == "counter" else family.name]
            assert (family.type, family.documentation) == (metric.kind, metric.help)
            for sample in family.samples:
                assert set(sample.labels) - {"le"} == set(metric.labels), sample
        self._samples = [sample for family in families for sample in family.samples]
        self.names = {sample.name for sample in self._samples}

    def value(self, name: str, /, **labels: str) -> float:
        """The sum of the series with these labels; there must be one."""
        found = [s.value for s in self._samples if s.name == name and labels.items() <= s.labels.items()]
        assert found, f"no {name} with {labels} among {sorted(self.names)}"
        return sum(found)


def scrape_blocking(url: str) -> Scrape:
    """Ask once."""
    with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - where a test's own command listens
        return Scrape(answer.read().decode())


async def scrape(url: str) -> Scrape:
    """The same for who has an event loop."""
    return await asyncio.to_thread(scrape_blocking, url)
