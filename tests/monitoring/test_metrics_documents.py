"""docs/metrics.md, the rules and the dashboard name metrics that exist."""

import re

import click
import pytest

from observer.cli.app import command_line
from observer.monitoring.metrics.table import METRICS, table_text
from tests.monitoring.prometheus import ROOT, dashboard_queries, metrics_in, panels, rules

PAGE = (ROOT / "docs/metrics.md").read_text()


def test_the_page_has_the_table_of_the_code():
    assert PAGE.endswith(table_text().rstrip() + "\n"), "write the end of docs/metrics.md anew with table_text()"


@pytest.mark.parametrize("name", METRICS)
def test_a_name_follows_the_conventions_of_prometheus(name):
    metric = METRICS[name]
    assert re.fullmatch(r"observer(_[a-z]+)+", name)
    assert name.endswith("_total") == (metric.type == "counter")
    assert not name.endswith(("_ms", "_ns", "_minutes", "_hours", "_mb", "_percent", "_count", "_bucket", "_sum"))
    assert metric.type != "histogram" or name.endswith("_seconds")
    assert metric.help
    assert not metric.help.endswith(".")
    assert not {"job", "instance"} & set(metric.labels), "Prometheus sets them itself"
    assert not {"le", "quantile"} & set(metric.labels) or name == "observer_gap_seconds"


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_a_rule_asks_for_metrics_of_the_page_and_says_what_to_do(rule):
    assert set(metrics_in(str(rule["expr"]))) <= METRICS.keys()
    assert rule["labels"]["severity"] in ("info", "warning", "critical")
    assert rule["annotations"].keys() == {"summary", "remedy"}


@pytest.mark.parametrize("query", dashboard_queries())
def test_a_query_of_the_dashboard_asks_for_metrics_of_the_page(query):
    names = set(metrics_in(query))
    assert names <= METRICS.keys()
    assert names or query == 'up{job="observer"}'


def test_a_name_that_is_none_is_found():
    assert set(metrics_in('rate(observer_call_total{call="x"}[1m])')) - METRICS.keys() == {"observer_call_total"}


def test_no_two_panels_of_the_dashboard_share_a_place_or_an_id():
    squares = [
        (column, line)
        for at in (panel["gridPos"] for panel in panels())
        for column in range(at["x"], at["x"] + at["w"])
        for line in range(at["y"], at["y"] + at["h"])
    ]
    assert len(squares) == len(set(squares))
    assert max(column for column, _ in squares) < 24
    assert len({panel["id"] for panel in panels()}) == len(panels())


COMMANDS = sorted(
    {found for rule in rules() for found in re.findall(r"`observer ([^`]+)`", rule["annotations"]["remedy"])}
)


def parse(command):
    """Read a command with its arguments, without running it."""
    words = re.sub(r"{{ \$labels\.\w+ }}", "KOSPI", command).split()
    found: click.Command | None = command_line()
    while isinstance(found, click.Group) and words:
        _, found, words = found.resolve_command(click.Context(found), words)
    assert found is not None
    found.make_context("observer", words)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_a_remedy_exists_with_these_arguments(command):
    parse(command)


@pytest.mark.parametrize("command", ["master report KOSPI", "master update KOSPI", "backup show"])
def test_a_command_that_does_not_exist_or_lacks_arguments_is_found(command):
    with pytest.raises(click.UsageError):
        parse(command)
