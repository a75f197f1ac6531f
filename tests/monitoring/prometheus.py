"""Debian's Prometheus and its promtool, where they are installed; and the names in our queries."""

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

ROOT: Final = Path(__file__).parents[2]
RULES: Final = ROOT / "config/prometheus/observer.rules.yml"
DASHBOARD: Final = ROOT / "config/grafana/observer.json"
NAME: Final = re.compile(r"\bobserver_\w+")
PART_OF_HISTOGRAM: Final = re.compile(r"_(bucket|sum|count)\Z")


def program(name: str) -> str:
    """The path of a program of Debian's package `prometheus`; without it the test is skipped."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed: apt-get install prometheus")
    return found


def rules() -> Sequence[dict[str, Any]]:
    """The alerting rules that are shipped."""
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def panels() -> Sequence[dict[str, Any]]:
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def dashboard_queries() -> Sequence[str]:
    return [target["expr"] for panel in panels() for target in panel["targets"]]


def metrics_in(query: str) -> Iterator[str]:
    """The names of the metrics in a query; of a histogram's parts the histogram's."""
    labels_cut = re.sub(r"\{[^}]*\}", "", query)
    for name in NAME.findall(labels_cut):
        yield PART_OF_HISTOGRAM.sub("", name)
