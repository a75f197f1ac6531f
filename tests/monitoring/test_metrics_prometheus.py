"""A real Prometheus scrapes a demo: every query of the dashboard has an answer, every rule can be evaluated."""

import contextlib
import json
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
import yaml

from tests.folders import short_folder
from tests.monitoring.prometheus import RULES, dashboard_queries, program
from tests.ports import own_port
from tests.waiting import DEADLINE_S, until
from tests.whole.running import OBSERVER, demo

# What the demo's day has none of.
WITHOUT_AN_ANSWER = {
    "observer_alert_open == 1": "no alert need be open",
    "observer_tape_held_ratio": "the demo has no [tape]",
    "observer_tape_left_seconds / 3600": "the demo has no [tape]",
}


def configuration(port):
    return {
        "global": {"scrape_interval": "500ms", "evaluation_interval": "1s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [{"job_name": "observer", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}],
    }


@contextlib.contextmanager
def prometheus(folder, scraped_port, port):
    """The URL of a Prometheus that scrapes the exporter at this port."""
    folder.mkdir()
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(configuration(scraped_port)))
    command = [
        *(program("prometheus"), f"--config.file={file}", f"--storage.tsdb.path={folder / 'data'}"),
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(DEADLINE_S)


def asked(url, path, **query):
    """The data of an answer; None while there is none."""
    try:
        with urllib.request.urlopen(
            f"{url}/api/v1/{path}?{urllib.parse.urlencode(query)}", timeout=DEADLINE_S
        ) as answer:
            found = json.load(answer)
    except urllib.error.HTTPError:
        raise  # it refuses the query
    except OSError:
        return None  # it starts
    assert found["status"] == "success", found
    return found["data"]


def wrong_rules(url):
    groups = asked(url, "rules")["groups"]
    assert groups
    return [
        f"{rule['name']}: {rule['lastError']}" for group in groups for rule in group["rules"] if rule.get("lastError")
    ]


@pytest.mark.slow
@pytest.mark.nightly  # the last figure of the day is scraped only where the demo outlives a heartbeat
@pytest.mark.system
@pytest.mark.timeout(600)
def test_every_query_of_the_dashboard_has_an_answer_while_a_demo_runs():
    scraped_port, prometheus_port = own_port(), own_port()
    unanswered = set(dashboard_queries()) - WITHOUT_AN_ANSWER.keys()
    with (
        short_folder() as name,
        prometheus(Path(name) / "p", scraped_port, prometheus_port) as url,
        demo("--metrics-port", scraped_port, folder=Path(name) / "d", speed=200) as system,
    ):
        system.until(lambda: "track-a" in system.pids(), "the start")
        # The daily package is made when the day is over, and the demo ends with it.
        subprocess.run([OBSERVER, "backup", "now", "--config", system.folder / "observer.toml"], check=True)

        def look():
            unanswered.difference_update([query for query in unanswered if answered(url, query)])
            return not unanswered or ended(system)

        until(look, "the end of the day", 400, every_s=1)
        assert unanswered == set()
        assert wrong_rules(url) == []
        assert all(asked(url, "query", query=query) is not None for query in WITHOUT_AN_ANSWER)


def answered(url, query):
    found = asked(url, "query", query=query)
    return bool(found and found["result"])


def ended(system):
    return system.process.poll() is not None
