"""Whether what is known of funds is fresh and complete (requirement 002, Day 10). Pure."""

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import msgspec

from bus.events import FundJob, FundJobEnded
from observer.reference.etf import Fund

_HOUR_NS: Final = 3_600 * 1_000_000_000
JOBS: Final[Sequence[FundJob]] = ("fund_list", "fund_values", "fund_measures", "fund_ranges")

# The fields that a complete fund has. An ETN is its issuer's debt: it has no assets of its own, and no NAV by days.
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
    "aum_krw",
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
ETF_GROUP: Final = "EF"


class JobFreshness(msgspec.Struct, frozen=True):
    """When a job last ended, hours ago (None: never); stale when it was due again since then."""

    job: FundJob
    age_hours: float | None
    verdict: Literal["fresh", "stale", "never"]
    asked: int
    answered: int
    failed: int
    seconds: float | None
    source: str


class FieldCompleteness(msgspec.Struct, frozen=True):
    """Of how many funds that can have the field it is known."""

    field: str
    funds: int
    known: int

    @property
    def percent(self) -> float:
        """100 for a field that no fund can have: nothing is missing."""
        return 100 * self.known / self.funds if self.funds else 100.0


class FundReport(msgspec.Struct, frozen=True):
    """Freshness of the jobs, completeness of the fields, and how many funds there are."""

    funds: int
    etfs: int
    jobs: Sequence[JobFreshness]
    fields: Sequence[FieldCompleteness]

    @property
    def is_fresh(self) -> bool:
        """Whether every job ended lately enough."""
        return all(job.verdict == "fresh" for job in self.jobs)


def report(
    funds: Sequence[Fund], ended: Mapping[FundJob, FundJobEnded], due_ns: Mapping[FundJob, int], now_ns: int
) -> FundReport:
    """The report on the active funds; `due_ns` is when each job should have begun last."""
    active = [fund for fund in funds if fund.active]
    etfs = [fund for fund in active if fund.group == ETF_GROUP]
    fields = [_completeness(name, active) for name in _OF_ALL] + [_completeness(name, etfs) for name in _OF_ETFS]
    jobs = [_freshness(job, ended.get(job), due_ns[job], now_ns) for job in JOBS]
    return FundReport(len(active), len(etfs), jobs, fields)


def _completeness(name: str, funds: Sequence[Fund]) -> FieldCompleteness:
    return FieldCompleteness(name, len(funds), sum(getattr(fund, name) not in (None, "") for fund in funds))


def _freshness(job: FundJob, ended: FundJobEnded | None, due_ns: int, now_ns: int) -> JobFreshness:
    if ended is None:
        return JobFreshness(job, None, "never", 0, 0, 0, None, "")
    return JobFreshness(
        job=job,
        age_hours=(now_ns - ended.ended_ns) / _HOUR_NS,
        verdict="fresh" if ended.ended_ns >= due_ns else "stale",
        asked=ended.asked,
        answered=ended.answered,
        failed=ended.failed,
        seconds=(ended.ended_ns - ended.started_ns) / 1e9,
        source=ended.source,
    )
