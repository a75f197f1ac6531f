"""Hysteresis for resource figures: a figure becomes too high, or normal again, after several checks in a row.

Pure: figures and the earlier state come in as values, the new state goes out; machine time is counted in checks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal, get_args

import msgspec

BACK_SHARE: Final = 0.9
"""A figure is normal again below this share of the limit, so that small swings raise one alert only."""

HEAVY_CHECKS: Final = 3  # so many in a row above its memory limit make a process too heavy: one may be a passing peak

Resource = Literal["cpu_percent", "memory_bytes", "disk_percent", "network_mbps", "disk_io_mb_s"]


class HysteresisThreshold(msgspec.Struct, frozen=True):
    """State of one figure: whether it counts as too high, and the number of consecutive checks to the contrary."""

    is_over: bool = False
    checks_against: int = 0


def after_check(threshold: HysteresisThreshold, figure: float, limit: float, checks: int) -> HysteresisThreshold:
    """The state after one more check; so many checks in a row change it."""
    says_otherwise = figure < limit * BACK_SHARE if threshold.is_over else figure > limit
    if not says_otherwise:
        return HysteresisThreshold(threshold.is_over)
    if threshold.checks_against + 1 < checks:
        return HysteresisThreshold(threshold.is_over, threshold.checks_against + 1)
    return HysteresisThreshold(not threshold.is_over)


def after_weighing(
    threshold: HysteresisThreshold, rss_bytes: int, limit_bytes: int, *, is_spared: bool
) -> tuple[HysteresisThreshold, Literal["end", "report"] | None]:
    """The state of a process's memory after one more check, and what to do: end a process with too much, or, if it is
    spared, report it once.
    """
    after = after_check(threshold, rss_bytes, limit_bytes, HEAVY_CHECKS)
    if not after.is_over:
        return after, None
    if not is_spared:
        return after, "end"
    return after, None if threshold.is_over else "report"


def weight_text(rss_bytes: int, limit_bytes: int) -> str:
    """Too much memory in words."""
    return f"uses {rss_bytes / 1e6:.0f} MB of memory, more than its {limit_bytes / 1e6:.0f} MB"


class HostLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits for alerts about the machine (docs/requirement.md)."""

    cpu_percent: Annotated[float, msgspec.Meta(gt=0, le=100)] = 85.0
    """Of all cores together."""
    memory_bytes: Annotated[int, msgspec.Meta(gt=0)] = 2_500_000_000
    """Resident, of the supervisor and all that it runs."""
    disk_percent: Annotated[float, msgspec.Meta(gt=0, le=100)] = 90.0
    """Of the disk that holds the data."""
    network_mbps: Annotated[float, msgspec.Meta(gt=0)] = 50.0
    """Megabits a second of the machine's busiest interface but loopback, both directions together."""
    disk_io_mb_s: Annotated[float, msgspec.Meta(gt=0)] = 500.0
    """Megabytes a second of the machine's busiest disk, read and written."""
    checks: Annotated[int, msgspec.Meta(ge=1)] = 10
    """So many checks in a row, one a second, make a figure too high or normal again."""


class HostFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One check of the machine, in the units of `HostLimits`."""

    cpu_percent: float
    memory_bytes: int
    disk_percent: float
    network_mbps: float = 0.0
    disk_io_mb_s: float = 0.0


class Crossing(msgspec.Struct, frozen=True):
    """A resource has become scarce, or (`is_over` False) is no longer."""

    resource: Resource
    is_over: bool
    figure: float
    limit: float


RESOURCES: Final[tuple[Resource, ...]] = get_args(Resource)
_NOUNS: Final[Mapping[Resource, str]] = {
    "cpu_percent": "CPU",
    "memory_bytes": "memory",
    "disk_percent": "disk",
    "network_mbps": "network",
    "disk_io_mb_s": "disk traffic",
}


class Traffic(msgspec.Struct, frozen=True):
    """Bytes that passed since the machine's start, by interface and by disk, at a moment of machine time."""

    at_s: float
    interfaces: Mapping[str, int]
    disks: Mapping[str, int]


def busiest(before: Mapping[str, int], now: Mapping[str, int], span_s: float) -> float:
    """Bytes a second of the busiest of those that both have; 0.0 without any. A counter that began anew counts 0."""
    passed = (count - before[name] for name, count in now.items() if name in before)
    return max(0, *passed, 0) / span_s if span_s > 0 else 0.0


def after_host_check(
    thresholds: Mapping[Resource, HysteresisThreshold], figures: HostFigures, limits: HostLimits
) -> tuple[Mapping[Resource, HysteresisThreshold], list[Crossing]]:
    """The machine's state after one more check, and its crossings. Start with an empty mapping."""
    known: dict[Resource, HysteresisThreshold] = {}
    crossings = []
    for resource in RESOURCES:
        before = thresholds.get(resource, HysteresisThreshold())
        figure, limit = getattr(figures, resource), getattr(limits, resource)
        after = known[resource] = after_check(before, figure, limit, limits.checks)
        if after.is_over is not before.is_over:
            crossings.append(Crossing(resource, after.is_over, figure, limit))
    return known, crossings


def crossing_text(crossing: Crossing) -> str:
    """A crossing in words, with its units: "memory: 2.61 GB, over 2.50 GB"."""
    words = "over" if crossing.is_over else "no longer over"
    return f"{_resource_text(crossing.resource, crossing.figure)}, {words} {_amount(crossing.resource, crossing.limit)}"


def _resource_text(resource: Resource, figure: float) -> str:
    return f"{_NOUNS[resource]}: {_amount(resource, figure)}"


def _amount(resource: Resource, figure: float) -> str:
    match resource:
        case "memory_bytes":
            return f"{figure / 1e9:.2f} GB"
        case "network_mbps":
            return f"{figure:.0f} Mbit/s"
        case "disk_io_mb_s":
            return f"{figure:.0f} MB/s"
        case _:
            return f"{figure:.0f} %"
