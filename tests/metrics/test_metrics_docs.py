"""docs/metrics.md lists exactly what is exposed, and its PromQL asks for nothing else."""

import re
from pathlib import Path

import pytest

from kvbm_nats.metrics import METRICS, endpoint
from kvbm_nats.metrics.reasons import CLASSES
from support.promql import faults, metrics_in

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "metrics.md").read_text()
ROWS = re.findall(r"^\| `(kvbm_\w+)` \|(.*?)\| (.+?) \| `(.+)` \|$", PAGE, re.MULTILINE)
NAMES_MAX = 28


def test_every_metric_has_its_row_and_every_row_its_metric():
    told = {name: tuple(re.findall(r"`(\w+)`", labels)) for name, labels, _, _ in ROWS}
    assert told == {metric.name: metric.labels for metric in METRICS}
    assert len(told) == len(ROWS), "a metric is told twice"


def test_they_are_few():
    assert len({metric.name for metric in METRICS}) == len(METRICS) <= NAMES_MAX
    assert f"{len(METRICS)} names" in PAGE


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_name_ends_in_its_unit(metric):
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert "duration" not in metric.name or metric.name.endswith("_seconds")
    assert "bytes" not in metric.name or metric.name.endswith("_bytes_total")


@pytest.mark.parametrize(("name", "question", "expression"), [(row[0], row[2], row[3]) for row in ROWS])
def test_a_row_asks_a_question_and_gives_an_example_of_its_metric(name, question, expression):
    assert len(question) > 10
    assert faults(expression) == []
    assert name in metrics_in(expression)


def test_its_words_are_the_codes():
    (failed,) = [row[2] for row in ROWS if row[0] == "kvbm_failed_blocks_total"]
    assert re.findall(r"`(\w+)`", failed) == list(CLASSES)
    assert f"within {endpoint.MEASURE_TIMEOUT_S:g} s" in PAGE
