"""The dashboard and the alert rules ask for metrics that there are."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from kvraft.metrics.catalogue import METRICS, Type

MONITORING: Final = Path(__file__).parents[2] / "docs" / "monitoring"
PAGE: Final = MONITORING.with_suffix(".md")
NAME: Final = re.compile(r"\b(?:kvraft|process|python)_[a-z_]+\b")
LABELS: Final = re.compile(r"\b(kvraft_[a-z_]+)\{([^}]*)\}")
OF_SCRAPES: Final = {"job", "instance", "le"}
"""Labels that Prometheus adds, and the one of buckets."""
OF_THE_PROCESS: Final = {"process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"}


def known() -> set[str]:
    """Return every name that a scrape holds."""
    names = set(OF_THE_PROCESS)
    for name, metric in METRICS.items():
        is_histogram = metric.type is Type.HISTOGRAM
        names |= {f"{name}_{part}" for part in ("bucket", "count", "sum")} if is_histogram else {name}
    return names


def expressions() -> Iterator[str]:
    """Yield each query of the dashboard, and the text of the rules."""

    def queries(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            for name, each in value.items():
                yield from [each] if name in {"expr", "query"} and isinstance(each, str) else queries(each)
        elif isinstance(value, list):
            for each in value:
                yield from queries(each)

    yield from queries(json.loads((MONITORING / "grafana.json").read_text(encoding="utf-8")))
    rules = (MONITORING / "alerts.yml").read_text(encoding="utf-8")
    yield from re.findall(r"expr: (?:\|\n)?(.*?)\n +(?:for|labels):", rules, re.DOTALL)


def test_each_metric_that_is_asked_for_exists() -> None:
    """A panel of a metric that was renamed would stay empty, an alert silent."""
    asked = {name for expression in expressions() for name in NAME.findall(expression)}
    assert len(asked) > 30
    assert asked - known() == set()


def test_each_label_that_is_asked_for_exists() -> None:
    """The same for the labels in selectors."""
    for expression in expressions():
        for name, selector in LABELS.findall(expression):
            metric = METRICS.get(name) or METRICS[re.sub("_(bucket|count|sum)$", "", name)]
            assert set(re.findall(r"(\w+)(?:=~|!=|!~|=)", selector)) <= {*metric.labels, *OF_SCRAPES}, expression


def test_the_page_lists_every_metric() -> None:
    """docs/monitoring.md has a row for each, with its help as it stands in the catalogue."""
    page = PAGE.read_text(encoding="utf-8")
    for name, metric in METRICS.items():
        labels = f"{{{', '.join(metric.labels)}}}" if metric.labels else ""
        assert f"| `{name}{labels}` | {metric.type.value} | {metric.help} |" in page, name


def test_the_page_tells_what_to_do_about_each_alert() -> None:
    """A person woken by one finds its name there."""
    alerts = re.findall(r"- alert: (\w+)", (MONITORING / "alerts.yml").read_text(encoding="utf-8"))
    page = PAGE.read_text(encoding="utf-8")
    assert [alert for alert in alerts if f"`{alert}`" not in page] == []


def test_promtool_takes_the_rules() -> None:
    """Prometheus' own check, where it is installed."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    rules = str(MONITORING / "alerts.yml")
    done = subprocess.run([promtool, "check", "rules", rules], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
