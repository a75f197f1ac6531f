"""Scrapes a running system's exporter: which metrics it shows in the course of a day."""

import json
import time
import urllib.error
import urllib.request
from typing import Final

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from tests.waiting import DEADLINE_S
from tests.whole.running import JsonObject

INTERVAL_S: Final = 2.0


class Scraped(msgspec.Struct):
    """What the exporter showed: labels and type of each metric, and the last checklist of a system that was ready."""

    port: int
    metrics: dict[str, tuple[str, list[str]]] = {}
    ready: JsonObject = {}
    values: dict[str, float] = {}
    _last_s: float = 0.0

    def look(self) -> None:
        """Scrape, where the last time is long enough ago. A system that starts or stops does not answer."""
        if time.monotonic() < self._last_s + INTERVAL_S:
            return
        self._last_s = time.monotonic()
        try:
            self._read(_get(f"http://127.0.0.1:{self.port}/metrics"))
            self.ready = json.loads(_get(f"http://127.0.0.1:{self.port}/readyz"))
        except OSError:
            return

    def _read(self, text: str) -> None:
        for family in text_string_to_metric_families(text):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            for sample in family.samples:
                labels = [label for label in sample.labels if label != "le"]
                self.metrics[name] = family.type, labels
                if sample.name == name:
                    self.values[f"{name}{json.dumps(sample.labels, sort_keys=True)}"] = sample.value


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=DEADLINE_S) as answer:
        return str(answer.read().decode())
