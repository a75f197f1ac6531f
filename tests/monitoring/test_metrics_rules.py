"""Each alert of config/prometheus/observer.rules.yml fires and resolves, judged by promtool.

A case is a series of minutes: quiet, then loud, then quiet. The alert fires while it is loud, and not before or after.
"""

import json
import subprocess
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
import pytest
import yaml

from tests.monitoring.prometheus import ROOT, RULES, program, rules
from tests.waiting import DEADLINE_S

SPAN: Final = 90  # minutes of each of the three parts
DAY: Final = 24 * 60  # minutes
LABELS: Final = 'job="observer",instance="127.0.0.1:9464"'
AT: Final = 1_600_000_000  # the market's time at minute 0, in Unix time

Part = Callable[[int, float], str]
"""The value of a series at a minute, by its value before; "_" for none."""


def level(value):
    return lambda _minute, _before: f"{value:.15g}"


def slope(a_minute):
    return lambda _minute, before: f"{before + a_minute:.15g}"


def market(minutes_ago=0):
    """The market's clock, or a moment that stays so many minutes behind it."""
    return lambda minute, _before: f"{AT + 60 * (minute - minutes_ago):.15g}"


def absent(_minute, _before):
    return "_"


class Case(msgspec.Struct, frozen=True):
    """An alert, its severity, and the values of its series while it is quiet and loud; other series are `steady`."""

    alert: str
    severity: str
    series: str
    quiet: Part
    loud: Part
    steady: Mapping[str, Part] = {}
    span: int = SPAN


MARKET: Final = {"observer_market_time_seconds": market()}
CALLS: Final = 'observer_calls_total{account="main",process="track-a",call="quotes",outcome="%s"}'
CHANGES: Final = 'observer_stream_connection_changes_total{account="main",state="%s"}'
CHECKS: Final = 'observer_master_file_checks_total{exchange="KOSPI",outcome="%s"}'
CASES: Final = (
    Case("ObserverExporterAbsent", "critical", "up", level(1), level(0)),
    Case("ObserverProcessFatal", "critical", 'observer_process_state{process="etf",state="FATAL"}', absent, level(1)),
    Case("ObserverProcessDown", "warning", 'observer_process_up{process="etf"}', level(1), level(0)),
    Case("ObserverProcessRestarts", "warning", 'observer_process_restarts_total{process="etf"}', slope(0), slope(1)),
    Case("ObserverHeartbeatStale", "warning", 'observer_heartbeat_age_seconds{process="etf"}', level(1), level(12)),
    Case(
        *("ObserverCriticalAlert", "critical", 'observer_alert_open{process="etf",identity="x",severity="critical"}'),
        *(absent, level(1)),
    ),
    Case("ObserverEventsLost", "critical", "observer_delivery_losses_events", level(0), level(3)),
    Case("ObserverEventsWait", "warning", 'observer_events_unacknowledged{process="etf"}', level(9), level(200_001)),
    Case("ObserverCpu", "warning", "observer_machine_cpu_ratio", level(0.85), level(0.86)),
    Case("ObserverMemory", "warning", "observer_memory_bytes", level(2.5e9), level(2.6e9)),
    Case("ObserverDisk", "warning", "observer_disk_used_ratio", level(0.9), level(0.91)),
    Case(
        *("ObserverDiskSoonFull", "warning", "observer_disk_free_bytes", level(1e12), slope(-2e9)),
        *({"observer_disk_used_ratio": level(0.75)}, 480),
    ),
    Case(
        *("ObserverNetwork", "warning", 'observer_machine_network_bytes_total{direction="received"}'),
        *(slope(60 * 6e6), slope(60 * 7e6)),
    ),
    Case(
        *("ObserverDiskTraffic", "warning", 'observer_machine_disk_bytes_total{direction="read"}'),
        *(slope(60 * 4e8), slope(60 * 6e8)),
    ),
    Case(
        *("ObserverBackupMissed", "critical", 'observer_backup_timestamp_seconds{kind="daily"}'),
        *(market(25 * 60), market(27 * 60), MARKET),
    ),
    Case("ObserverBackupNever", "critical", "observer_uptime_seconds", level(3600), level(27 * 3600)),
    Case(
        *("ObserverTokenExpires", "critical", 'observer_token_expires_timestamp_seconds{account="main"}'),
        *(market(-31), market(-29), MARKET),
    ),
    Case(
        *("ObserverTokenNotRenewed", "warning", 'observer_token_renewals_total{account="main",outcome="failed"}'),
        *(slope(0), slope(1)),
    ),
    Case("ObserverAccountUnhealthy", "critical", 'observer_account_healthy{account="main"}', level(1), level(0)),
    Case("ObserverReconnectBudget", "critical", CHANGES % "connected", slope(0.5), slope(1)),
    Case("ObserverReconnectBudget", "critical", CHANGES % "suspended", slope(0), slope(0.1)),
    Case("ObserverCallsFail", "warning", CALLS % "ok", slope(58), slope(55), {CALLS % "sent": slope(60)}),
    Case("ObserverGapRate", "warning", "observer_gap_rate_ratio", level(0.05), level(0.06)),
    Case("ObserverGapsLate", "warning", 'observer_gap_in_time_ratio{measure="detection"}', level(0.95), level(0.9)),
    Case("ObserverGapQueue", "warning", "observer_gap_queue", level(99), level(100)),
    Case("ObserverOverflow", "info", "observer_slot_overflow_ratio", level(0.05), level(0.06)),
    Case("ObserverOverflow", "warning", "observer_slot_overflow_ratio", level(0.05), level(0.15)),
    Case("ObserverOverflow", "critical", "observer_slot_overflow_ratio", level(0.05), level(0.25)),
    Case(
        *("ObserverSweepsMissed", "critical", "observer_sweep_completed_timestamp_seconds", market(10), market(26)),
        {**MARKET, 'observer_phase{phase="FULL_OPERATION"}': level(1)},
    ),
    Case("ObserverSweepCoverage", "warning", "observer_sweep_coverage_ratio", level(0.95), level(0.9)),
    Case("ObserverUniverseStale", "critical", "observer_universe_age_days", level(0), level(1)),
    Case("ObserverUniverseSmall", "warning", "observer_universe_symbols", level(100), level(99)),
    Case(
        *("ObserverMasterFileStale", "warning", 'observer_master_file_checked_timestamp_seconds{exchange="KOSPI"}'),
        *(market(47 * 60), market(49 * 60), MARKET),
    ),
    Case("ObserverMasterFileFails", "critical", CHECKS % "failed", slope(0), slope(0.1)),
    Case("ObserverMasterFilePending", "warning", CHECKS % "pending", slope(0), slope(0.1)),
    Case(
        *("ObserverListingsDropped", "critical", 'observer_master_file_listings{exchange="KOSPI"}'),
        *(level(900), level(800), {}, DAY),
    ),
    Case(
        *("ObserverListingsIncomplete", "warning", 'observer_master_file_readable_ratio{exchange="KOSPI"}'),
        *(level(0.95), level(0.9)),
    ),
    Case(
        *("ObserverEtfIncomplete", "warning", 'observer_etf_job_answered_ratio{etf_job="etf_values"}'),
        *(level(0.95), level(0.9)),
    ),
)


def series_of(case):
    """The input series of a case, with the labels of a scrape."""
    parts = {case.series: (case.quiet, case.loud, case.quiet)}
    parts |= {name: (part,) * 3 for name, part in case.steady.items()}
    return [{"series": scraped(name), "values": " ".join(values(three, case.span))} for name, three in parts.items()]


def scraped(name):
    metric, _, labels = name.partition("{")
    return f"{metric}{{{LABELS}{',' if labels else ''}{labels or '}'}"


def values(parts, span):
    found: list[str] = []
    before = 0.0
    for minute in range(3 * span):
        found.append(parts[minute // span](minute, before))
        before = float(found[-1]) if found[-1] != "_" else before
    return found


def unit_test(case):
    """What promtool is to find: the alert fires at the end of the loud part, and not at the ends of the quiet ones.

    Of a level a day ago the alert ends by itself, so the loud part is looked at in its middle.
    """
    firing = f'count by (alertname, severity) (ALERTS{{alertname="{case.alert}",alertstate="firing"}})'
    fired = [{"labels": f'{{alertname="{case.alert}",severity="{case.severity}"}}', "value": 1}]
    looks = {case.span - 1: [], case.span + case.span // 2: fired, 3 * case.span - 1: []}
    return {
        "name": f"{case.alert} {case.severity}",
        "interval": "1m",
        "input_series": series_of(case),
        "promql_expr_test": [
            {"expr": firing, "eval_time": f"{minute}m", "exp_samples": samples} for minute, samples in looks.items()
        ],
    }


def judged(folder, tests, **changed):
    """What promtool finds wrong in these tests of alerts by their name; empty: nothing. A file has the rules of one
    alert, as promtool evaluates all of a file each minute. `changed` replaces the expression of an alert.
    """
    files = []
    for alert, of_alert in tests.items():
        rule_file, test_file = folder / f"{alert}.rules.yml", folder / f"{alert}.json"
        found = [rule | {"expr": changed.get(alert, rule["expr"])} for rule in rules() if rule["alert"] == alert]
        rule_file.write_text(yaml.safe_dump({"groups": [{"name": alert, "rules": found}]}))
        content = {"rule_files": [str(rule_file)], "evaluation_interval": "1m", "tests": of_alert}
        test_file.write_text(json.dumps(content))  # JSON is YAML
        files.append(str(test_file))
    result = promtool("test", "rules", *files)
    return result.stdout + result.stderr if result.returncode else ""


def promtool(*arguments):
    return subprocess.run(
        [program("promtool"), *arguments], capture_output=True, text=True, check=False, timeout=DEADLINE_S
    )


def test_each_rule_has_a_case():
    shipped = {(rule["alert"], rule["labels"]["severity"]) for rule in rules()}
    assert {(case.alert, case.severity) for case in CASES} == shipped


def by_alert(cases):
    return {name: [unit_test(case) for case in cases if case.alert == name] for name in {case.alert for case in cases}}


def test_each_alert_fires_and_resolves(tmp_path):
    assert judged(tmp_path, by_alert(CASES)) == ""


def test_a_rule_that_never_fires_is_found(tmp_path):
    cases = [case for case in CASES if case.alert == "ObserverGapQueue"]
    assert judged(tmp_path, by_alert(cases), ObserverGapQueue="observer_gap_queue >= 1000")


def test_the_texts_of_an_alert_have_its_figures(tmp_path):
    [case] = [case for case in CASES if case.alert == "ObserverMasterFileStale"]
    labels = {"severity": "warning", "exchange": "KOSPI", "job": "observer", "instance": "127.0.0.1:9464"}
    texts = {
        "summary": "the master file of KOSPI was checked 2d 1h 0m 0s ago",
        "remedy": "`observer master update --exchange KOSPI`",
    }
    expected = {
        "eval_time": f"{2 * case.span - 1}m",
        "alertname": case.alert,
        "exp_alerts": [{"exp_labels": labels, "exp_annotations": texts}],
    }
    test = {"interval": "1m", "input_series": series_of(case), "alert_rule_test": [expected]}
    assert judged(tmp_path, {case.alert: [test]}) == ""


@pytest.mark.parametrize("kind", ["rules", "config"])
def test_promtool_finds_nothing_wrong_with_the_shipped_files(kind):
    path = RULES if kind == "rules" else ROOT / "config/prometheus/prometheus.yml"
    found = promtool("check", kind, str(path))
    assert found.returncode == 0, found.stdout + found.stderr
