"""The order of the tests, and what every process that they start has in common."""

import os
import sys
from pathlib import Path

import pytest

SYSTEM = Path(__file__).parent / "system"

# Hundreds of processes start, here and below: without compiled files each would compile all our modules anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole systems first: they take longest, and one at a time disturbs the others least."""
    items.sort(key=_place)


def _place(item: pytest.Item) -> int:
    """0: a system of its own; 1: needs the shared day, which goes by meanwhile; 2: everything else."""
    if SYSTEM not in item.path.parents:
        return 2
    return int(isinstance(item, pytest.Function) and "day" in item.fixturenames)
