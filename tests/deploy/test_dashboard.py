"""The Grafana dashboard and what provisions it: every expression asks for what is exposed, every file is where it is looked for."""

import json
import re
from pathlib import Path

import pytest
import yaml

from kvbm_nats.metrics import METRICS
from support.promql import SERIES, faults, metrics_in

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
BOARD = json.loads((DEPLOY / "grafana" / "dashboards" / "kvbm.json").read_text())
SERVICES = yaml.safe_load((DEPLOY.parent / "docker-compose.yml").read_text())["services"]
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = [(panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]]


def named(value):
    return value if isinstance(value, str) and "(" not in value else ""


@pytest.mark.parametrize(("title", "expression"), EXPRESSIONS, ids=named)
def test_an_expression_asks_for_what_is_exposed(title, expression):
    assert faults(expression) == [], title


def test_every_metric_is_looked_at():
    looked_at = set().union(*(metrics_in(expression) for _, expression in EXPRESSIONS))
    assert looked_at == {metric.name for metric in METRICS}


def test_a_variable_asks_for_what_is_exposed():
    variables = {variable["name"]: variable for variable in BOARD["templating"]["list"]}
    series, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variables["instance"]["definition"]).groups()
    assert label in SERIES[series].labels
    used = set(re.findall(r"\$\{?(?!__)(\w+)", json.dumps(BOARD["panels"])))
    assert used == set(variables)


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_says_what_it_shows_and_has_its_place(panel):
    assert panel["description"]
    place = panel["gridPos"]
    assert place["x"] + place["w"] <= 24
    for other in BOARD["panels"]:
        if other is not panel:
            at = other["gridPos"]
            apart = (
                place["x"] + place["w"] <= at["x"]
                or at["x"] + at["w"] <= place["x"]
                or place["y"] + place["h"] <= at["y"]
                or at["y"] + at["h"] <= place["y"]
            )
            assert apart, other["title"]


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_legend_names_labels_of_its_series(panel):
    for target in panel["targets"]:
        labels = {label for name, metric in SERIES.items() if name in target["expr"] for label in metric.labels}
        assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= labels


def test_grafana_finds_its_prometheus_and_its_dashboards():
    (source,) = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text())["datasources"]
    (provider,) = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/kvbm.yml").read_text())["providers"]
    mounts = dict(volume.split(":")[:2] for volume in SERVICES["grafana"]["volumes"])
    assert mounts["./deploy/grafana/dashboards"] == provider["options"]["path"]
    assert source["url"].split("//")[1].split(":")[0] in SERVICES
    assert all((DEPLOY.parent / mount).exists() for mount in mounts)


def test_prometheus_asks_the_commands_that_answer():
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    (job,) = config["scrape_configs"]
    assert job["honor_labels"] is True
    (targets,) = job["static_configs"]
    for target in targets["targets"]:
        service, port = target.split(":")
        assert f"--metrics-port={port}" in SERVICES[service]["command"]
    answering = {
        name for name, each in SERVICES.items() if any("metrics-port" in word for word in each.get("command", []))
    }
    assert {target.split(":")[0] for target in targets["targets"]} == answering
