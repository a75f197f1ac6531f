"""All targets."""

from tests.fuzz import broker_targets, bus_targets, file_targets
from tests.fuzz.target import Target

ALL: tuple[Target, ...] = (*bus_targets.TARGETS, *broker_targets.TARGETS, *file_targets.TARGETS)


def named(name: str) -> Target:
    """The target of this name."""
    return next(target for target in ALL if target.name == name)
