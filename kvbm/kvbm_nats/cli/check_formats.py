"""A report as monitors read it: one line for Nagios and its kin, a text file for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from kvbm_nats.check.finding import CODES, Finding, Report, Value
from kvbm_nats.cli.text import printable


def as_nagios(report: Report) -> str:
    """The worst finding and all figures on the first line, then a line for each finding."""
    head = "; ".join(f"{each.name}: {each.what}" for each in report.findings if each.level == report.level)
    if report.level == "ok":
        head = f"{len(report.findings)} checks are as they should be"
    figures = [_figure(finding, value) for finding in report.findings for value in finding.values]
    lines = [f"KVBM {report.level.upper()} - {report.instance}: {_plain(head)} | {' '.join(figures)}".rstrip(" |")]
    lines += [_plain(f"[{each.level}] {each.name}: {each.what}") for each in report.findings]
    return "\n".join(lines)


def as_prometheus(report: Report) -> str:
    """For node_exporter's textfile collector."""
    registry = CollectorRegistry()
    registry.register(_Told(report))
    return generate_latest(registry).decode().rstrip("\n")


class _Told(Collector):
    def __init__(self, report: Report) -> None:
        self._report = report

    def collect(self) -> list[GaugeMetricFamily]:
        """Levels and figures."""
        levels = GaugeMetricFamily(
            "kvbm_check_level", "0 ok, 1 warning, 2 critical, 3 unknown", labels=["instance", "check"]
        )
        values = GaugeMetricFamily(
            "kvbm_check_value", "What was looked at: docs/cli.md has the units", labels=["instance", "check", "of"]
        )
        for finding in self._report.findings:
            levels.add_metric([self._report.instance, finding.name], CODES[finding.level])
            for value in finding.values:
                values.add_metric([self._report.instance, finding.name, value.of], value.value)
        return [levels, values]


def _figure(finding: Finding, value: Value) -> str:
    label = f"'{finding.name} {value.of}'" if value.of else finding.name
    return f"{label}={value.value:.6g}{value.unit};{value.warning:g};{value.critical:g}"


def _plain(text: str) -> str:
    """Nothing that the monitor takes for figures, and nothing that steers a terminal."""
    return printable(text).replace("|", "/")
