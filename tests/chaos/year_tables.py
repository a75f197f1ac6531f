"""The tables of a year: a column for each look, and no rows of what is small."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from observer.cli.tables import Table
from tests.chaos.year_looks import Look

SHOWN_SHARE = 0.004  # of the largest size or number


def look_tables(looks: Sequence[Look]) -> Iterator[Table]:
    """Times, memory, sizes, files and rows."""
    yield _table("time, ms", looks, lambda look: look.seconds, lambda seconds: f"{seconds * 1_000:,.0f}")
    yield _table("memory, MB", looks, lambda look: look.memory_mb, lambda megabytes: f"{megabytes:,.1f}")
    yield _table("size, kB", looks, lambda look: look.sizes, lambda size: f"{size / 1_000:,.0f}", SHOWN_SHARE)
    yield _table("files", looks, lambda look: look.files, lambda files: f"{files:,.0f}", SHOWN_SHARE)
    yield _table("rows", looks, lambda look: look.rows, lambda rows: f"{rows:,.0f}", SHOWN_SHARE)


def _table(
    title: str,
    looks: Sequence[Look],
    of: Callable[[Look], Mapping[str, float]],
    text: Callable[[float], str],
    share: float = 0.0,
) -> Table:
    columns = tuple(f"day {look.number}" for look in looks)
    last = of(looks[-1]) if looks else {}
    least = share * max(last.values(), default=0.0)
    names = [name for name, value in last.items() if value > least]
    rows = [(name, *(text(of(look)[name]) if name in of(look) else "" for look in looks)) for name in names]
    return Table((title, *columns), rows, right=columns)
