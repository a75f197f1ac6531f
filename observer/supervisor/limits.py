"""When a figure counts as too high, and when as back to normal: neither at its first touch of the limit.

Pure: figures come in as values, what was concluded so far goes in and out as a value, machine time is counted in looks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal

import msgspec

BACK_SHARE: Final = 0.9
"""Back to normal is below this share of the limit, so that a figure that swings about it is told of once."""

Resource = Literal["cpu_percent", "memory_bytes", "disk_percent"]


class Strain(msgspec.Struct, frozen=True):
    """What is known of one figure: whether it counts as too high, and how many looks in a row have said otherwise."""

    is_over: bool = False
    looks_against: int = 0


def after_look(strain: Strain, figure: float, limit: float, looks: int) -> Strain:
    """What is known after one more look; so many looks in a row change what counts."""
    says_otherwise = figure < limit * BACK_SHARE if strain.is_over else figure > limit
    if not says_otherwise:
        return Strain(strain.is_over)
    if strain.looks_against + 1 < looks:
        return Strain(strain.is_over, strain.looks_against + 1)
    return Strain(not strain.is_over)


class HostLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """From where on a person should know (requirement 004, resource table: CPU 85 %, memory 2.5 GB)."""

    cpu_percent: Annotated[float, msgspec.Meta(gt=0, le=100)] = 85.0
    """Of all cores together."""
    memory_bytes: Annotated[int, msgspec.Meta(gt=0)] = 2_500_000_000
    """Resident, of the supervisor and all that it runs."""
    disk_percent: Annotated[float, msgspec.Meta(gt=0, le=100)] = 90.0
    """Of the disk that holds the data."""
    looks: Annotated[int, msgspec.Meta(ge=1)] = 10
    """So many looks in a row, one a second, make a figure too high or normal again."""


class HostFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One look at the machine, in the units of `HostLimits`."""

    cpu_percent: float
    memory_bytes: int
    disk_percent: float


class Crossing(msgspec.Struct, frozen=True):
    """A resource has become scarce, or (`is_over` False) is no longer."""

    resource: Resource
    is_over: bool
    figure: float
    limit: float


RESOURCES: Final[tuple[Resource, ...]] = ("cpu_percent", "memory_bytes", "disk_percent")


def after_host_look(
    strains: Mapping[Resource, Strain], figures: HostFigures, limits: HostLimits
) -> tuple[Mapping[Resource, Strain], list[Crossing]]:
    """What is known of the machine after one more look, and what has changed by it. Start with an empty mapping."""
    known: dict[Resource, Strain] = {}
    crossings = []
    for resource in RESOURCES:
        before = strains.get(resource, Strain())
        figure, limit = getattr(figures, resource), getattr(limits, resource)
        after = known[resource] = after_look(before, figure, limit, limits.looks)
        if after.is_over is not before.is_over:
            crossings.append(Crossing(resource, after.is_over, figure, limit))
    return known, crossings


def crossing_text(crossing: Crossing) -> str:
    """A crossing in words, with its units: "memory: 2.61 GB, over 2.50 GB"."""
    words = "over" if crossing.is_over else "no longer over"
    return f"{_resource_text(crossing.resource, crossing.figure)}, {words} {_amount(crossing.resource, crossing.limit)}"


def _resource_text(resource: Resource, figure: float) -> str:
    noun = {"cpu_percent": "CPU", "memory_bytes": "memory", "disk_percent": "disk"}[resource]
    return f"{noun}: {_amount(resource, figure)}"


def _amount(resource: Resource, figure: float) -> str:
    return f"{figure / 1e9:.2f} GB" if resource == "memory_bytes" else f"{figure:.0f} %"
