"""The figures of a run of the enrichment for Prometheus, as a file or on a port while the run lasts."""

from pathlib import Path
from typing import Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server, write_to_textfile

from bus.events import EnrichmentCompleted
from observer.base.units import NS_PER_S
from observer.reference.sectors.model import SOURCES
from observer.reference.sectors.report import success_rate

MetricPrefix = Literal["observer", "spock"]

_DURATIONS_S: Final = (1, 5, 15, 60, 300, 900, 1800, 3600, 7200, 14400)


class EnrichmentMetrics:
    """The figures of a run. Their names are the requirement's (003) behind either prefix."""

    def __init__(self, prefix: MetricPrefix) -> None:
        self._registry = CollectorRegistry()
        named = f"{prefix}_enrichment"
        self._regions = Counter(
            f"{named}_regions_processed", "Regions processed", ["region", "status"], registry=self._registry
        )
        self._stocks = Counter(
            f"{named}_stocks_enriched", "Stocks given a sector", ["region", "source"], registry=self._registry
        )
        self._durations = Histogram(
            f"{named}_duration_seconds",
            "Market seconds that a region took",
            ["region"],
            buckets=_DURATIONS_S,
            registry=self._registry,
        )
        self._rate = Gauge(
            f"{named}_success_rate", "Share of stocks dealt with (0 to 1)", ["region"], registry=self._registry
        )
        self._retries = Counter(
            f"{named}_retry_attempts", "Requests that were sent again", ["region"], registry=self._registry
        )

    def record(self, done: EnrichmentCompleted) -> None:
        """Count one region's round."""
        self._regions.labels(done.region, "failed" if done.detail else "success").inc()
        for source in SOURCES:
            self._stocks.labels(done.region, source).inc(int(getattr(done, source)))
        self._durations.labels(done.region).observe((done.completed_ns - done.started_ns) / NS_PER_S)
        self._rate.labels(done.region).set(success_rate(done))
        self._retries.labels(done.region).inc(done.retries)

    def write(self, path: Path) -> None:
        """Write them as a file for a collector of text files."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_to_textfile(str(path), self._registry)

    def serve(self, port: int) -> None:
        """Serve them on loopback as long as this process lives."""
        start_http_server(port, addr="127.0.0.1", registry=self._registry)
