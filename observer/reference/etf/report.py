"""Freshness and completeness of the ETF data. Pure."""

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import msgspec

from bus.events import EtfJob, EtfJobEnded
from observer.reference.etf.model import Etf
from observer.reference.listings.model import ETF_GROUP

_HOUR_NS: Final = 3_600 * 1_000_000_000
JOBS: Final[Sequence[EtfJob]] = ("etf_list", "etf_values", "etf_measures", "etf_ranges")

# The fields that a complete ETF has. An ETN is its issuer's debt: it has no assets of its own, and no NAV by days.
_OF_ALL: Final = (
    "name",
    "isin",
    "issuer",
    "index_name",
    "region",
    "asset_class",
    "replication",
    "leverage",
    "expense_ratio_percent",
    "listed_shares",
    "listed_on",
)
_OF_ETFS: Final = (
    "aum",
    "highest_close_52w",
    "nav",
    "component_count",
    "premium_20d_percent",
    "premium_60d_percent",
    "premium_120d_percent",
    "premium_250d_percent",
    "tracking_error_250d_percent",
    "stated_tracking_error_percent",
)


class JobFreshness(msgspec.Struct, frozen=True):
    """How many hours ago a job last ended (None: never); stale when it was due again since then."""

    job: EtfJob
    age_hours: float | None
    freshness: Literal["fresh", "stale", "never"]
    asked: int
    answered: int
    failed: int
    seconds: float | None
    source: str


class FieldCompleteness(msgspec.Struct, frozen=True):
    """How many of the ETFs that can have the field have it."""

    field: str
    products: int
    known: int

    @property
    def percent(self) -> float:
        """Percentage; 100 for a field that no ETF can have."""
        return 100 * self.known / self.products if self.products else 100.0


class EtfReport(msgspec.Struct, frozen=True):
    """Freshness of the jobs, completeness of the fields, and the number of ETFs."""

    products: int
    etfs: int
    jobs: Sequence[JobFreshness]
    fields: Sequence[FieldCompleteness]

    @property
    def is_fresh(self) -> bool:
        """Whether no job is stale."""
        return all(job.freshness == "fresh" for job in self.jobs)


def report(
    products: Sequence[Etf], ended: Mapping[EtfJob, EtfJobEnded], due_ns: Mapping[EtfJob, int], now_ns: int
) -> EtfReport:
    """The report on the active ETFs; `due_ns` is each job's last due time."""
    active = [etf for etf in products if etf.active]
    etfs = [etf for etf in active if etf.group == ETF_GROUP]
    fields = [_completeness(name, active) for name in _OF_ALL] + [_completeness(name, etfs) for name in _OF_ETFS]
    jobs = [_freshness(job, ended.get(job), due_ns[job], now_ns) for job in JOBS]
    return EtfReport(len(active), len(etfs), jobs, fields)


def _completeness(name: str, etfs: Sequence[Etf]) -> FieldCompleteness:
    return FieldCompleteness(name, len(etfs), sum(getattr(etf, name) not in (None, "") for etf in etfs))


def _freshness(job: EtfJob, ended: EtfJobEnded | None, due_ns: int, now_ns: int) -> JobFreshness:
    if ended is None:
        return JobFreshness(job, None, "never", 0, 0, 0, None, "")
    return JobFreshness(
        job=job,
        age_hours=(now_ns - ended.ended_ns) / _HOUR_NS,
        freshness="fresh" if ended.ended_ns >= due_ns else "stale",
        asked=ended.asked,
        answered=ended.answered,
        failed=ended.failed,
        seconds=(ended.ended_ns - ended.started_ns) / 1e9,
        source=ended.source,
    )
