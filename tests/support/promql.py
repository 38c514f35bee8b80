"""PromQL as Prometheus reads it, held against what is exposed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import promql_parser

from kvbm_nats.metrics import METRICS, Metric

OF_A_TARGET = {"job", "instance"}
"""What Prometheus itself puts on every series."""
SERIES = {
    f"{metric.name}{suffix}": metric
    for metric in METRICS
    for suffix in (("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",))
}


def faults(expression: str) -> list[str]:
    """What of an expression names nothing that is exposed; Grafana's variables may stand in it.

    Raises:
        ValueError: it is no PromQL.
    """
    plain = re.sub(r"\$__(rate_interval|interval|range)", "5m", expression)
    return list(_look(promql_parser.parse(re.sub(r"\$\w+", "x", plain)))[1])


def metrics_in(expression: str) -> set[str]:
    """The metrics of the catalog whose series it selects."""
    return {metric.name for name, metric in SERIES.items() if re.search(rf"\b{name}\b", expression)}


def labels_of(series: str, metric: Metric) -> set[str]:
    """The labels that a series may have."""
    return {*metric.labels, *OF_A_TARGET, *({"le"} if series.endswith("_bucket") else ())}


def _look(node: Any) -> tuple[set[str], list[str]]:
    """The labels that the node's series may have, and what is wrong in it."""
    if hasattr(node, "vector_selector"):
        node = node.vector_selector
    if hasattr(node, "matchers"):
        return _look_at_selector(node)
    found = [_look(child) for child in _children(node)]
    labels = set[str]().union(*(each for each, _ in found))
    wrong = [fault for _, each in found for fault in each]
    modifier = getattr(node, "modifier", None)
    named = set(getattr(modifier, "labels", ()))
    named |= set(getattr(getattr(modifier, "matching", None), "labels", ()))
    return labels, [*wrong, *(f"no label {label!r} in {node.prettify()}" for label in named - labels)]


def _look_at_selector(selector: Any) -> tuple[set[str], list[str]]:
    metric = SERIES.get(selector.name)
    if metric is None:
        return set(), [f"no series {selector.name!r}"]
    labels = labels_of(selector.name, metric)
    matched = {matcher.name for matcher in selector.matchers.matchers}
    return labels, [f"{selector.name} has no label {label!r}" for label in matched - labels]


def _children(node: Any) -> Iterator[Any]:
    for name in ("lhs", "rhs", "expr"):
        if hasattr(node, name):
            yield getattr(node, name)
    yield from getattr(node, "args", ())
