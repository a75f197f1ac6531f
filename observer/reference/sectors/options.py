"""The options of one run of the enrichment, for the command and for the process that a worker starts."""

from pathlib import Path
from typing import Final, Literal

import msgspec

from bus.archive import ArchiveLimits
from bus.endpoints import Address
from observer.base.logs import Head
from observer.reference.sectors.model import SOURCES, Region, SectorSourceName

SNAPSHOT: Final = "finance_database.bz2"  # in the data folder
OUTBOX: Final = "enrich"  # the folder of a run's outbox, and its stream's name
TABLES: Final = Path("config/sectors")


class EnrichmentOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a run of the enrichment.

    `data` is the folder for cookies, kept answers and the report, `outbox` the run's own, whose
    archive has these limits. `masters` None: the stocks
    are those of the database; `max_age_days` None: every stock is due. `at_once` regions run at a time.
    """

    url: str
    data: Path
    outbox: Path
    archive_limits: ArchiveLimits
    masters: Path | None = None
    tables: Path = TABLES
    snapshot: Path | None = None
    regions: tuple[Region, ...]
    sources: tuple[SectorSourceName, ...] = SOURCES
    force_refresh: bool = False
    max_age_days: float | None = 30.0
    at_once: int = 1
    max_retries: int = 3
    retry_delay_s: float = 5.0
    report: Path | None = None
    metrics_file: Path | None = None
    prometheus_port: int = 0
    metric_prefix: Literal["observer", "spock"] = "observer"
    verbose: bool = False
    yahoo_address: str = ""

    @property
    def snapshot_path(self) -> Path:
        """The path of the FinanceDatabase snapshot."""
        return self.snapshot or self.data / SNAPSHOT

    @property
    def report_path(self) -> Path:
        """The path of the report."""
        return self.report or self.data / "enrichment" / "report.txt"


class EnrichmentProcess(msgspec.Struct, frozen=True):
    """The input of `python -m observer.reference.sectors`, as JSON: the options, the writer's ingest socket, the log's
    head.
    """

    options: EnrichmentOptions
    ingest: Address
    log_head: Head | None = None

    def to_json(self) -> bytes:
        """The JSON for `from_json`."""
        return msgspec.json.encode(self, enc_hook=str)  # a Path

    @classmethod
    def from_json(cls, content: bytes) -> "EnrichmentProcess":
        """Raises msgspec.MsgspecError: it is none."""
        return msgspec.json.decode(content, type=cls, dec_hook=lambda kind, value: kind(value))
