"""What grew in a year, by what was found after two of its days (tests.chaos.year_looks): the judge.

What is not known to gain something each day has to stay as large as it is after the earlier of the days, and every time
and all memory too. What each day adds to may grow by that: as much a day as until the earlier day. A backup may take as
much longer as the database is larger: a package is a whole copy of it.
"""

from collections.abc import Iterator, Mapping

from observer.store.kinds import REMOVABLE, TABLE_NAMES
from tests.chaos.year_looks import Look

GROWTH_MAX = 1.25
TIME_ALLOWANCE_S = 0.01  # of times so short that the scheduler's turns decide them
ROWS_ALLOWANCE = 20
BYTES_ALLOWANCE = 131_072

GAINING_TABLES = frozenset(set(TABLE_NAMES.values()) - REMOVABLE - {"trades"}) | {"streams"}
"""The tables that each day adds rows to which stay: what happened on the day. `streams`: each start adds some."""
DAILY_BYTES_MAX = {"lake's catalogue": 65_536}
"""Bytes on the disk that a day may add at most to a part that no other limit holds for: the catalogue has an entry for
each file of the lake. (It added 160,000 of 16 kinds while it kept what no snapshot needs.)"""
GAINING_PARTS = frozenset({"data/lake", "data/observer", "backup, lake", "finished"})
"""The parts of the folder that each day adds to: the sealed days, their copies, the ledgers."""
GAINING_SIZES = GAINING_PARTS | {f"table {name}" for name in GAINING_TABLES} | {"database", "backup, packages"}
"""The tables of the database are judged one by one, and what is in none of them; a package is a copy of it and of the
ledgers."""


def growths(base: Look, last: Look) -> list[str]:
    """What grew beyond the limit from the earlier look to the later one."""
    return [*_longer(base, last), *_larger(base, last)]


def _longer(base: Look, last: Look) -> Iterator[str]:
    for what, before_s in base.seconds.items():
        after_s = last.seconds[what]
        if after_s > GROWTH_MAX * before_s + TIME_ALLOWANCE_S:
            yield _text(base, last, what, f"{before_s:.3f} s", f"{after_s:.3f} s", after_s / before_s)
    for name, before_mb in base.memory_mb.items():
        if (after_mb := last.memory_mb[name]) > GROWTH_MAX * before_mb:
            yield _text(base, last, f"the memory of {name}", f"{before_mb} MB", f"{after_mb} MB", after_mb / before_mb)


def _larger(base: Look, last: Look) -> Iterator[str]:
    days = last.number / base.number
    kinds: tuple[tuple[str, Mapping[str, int], Mapping[str, int], frozenset[str], int], ...] = (
        ("rows of", base.rows, last.rows, GAINING_TABLES, ROWS_ALLOWANCE),
        ("bytes of", base.sizes, last.sizes, GAINING_SIZES, BYTES_ALLOWANCE),
        ("files of", base.files, last.files, GAINING_PARTS | {"backup, packages"}, ROWS_ALLOWANCE),
    )
    for what, earlier, later, gaining, allowance in kinds:
        for name in later.keys() - DAILY_BYTES_MAX.keys():
            before, after = earlier.get(name, 0), later[name]
            share = days if name in gaining else 1.0
            if after > GROWTH_MAX * share * before + allowance:
                ratio = after / before if before else float("inf")
                yield _text(base, last, f"{what} {name}", f"{before:,}", f"{after:,}", ratio)
    for name, most in DAILY_BYTES_MAX.items():
        before, after = base.sizes.get(name, 0), last.sizes.get(name, 0)
        if after - before > most * (last.number - base.number):
            yield _text(base, last, f"bytes of {name}", f"{before:,}", f"{after:,}", after / before if before else 0.0)


def _text(base: Look, last: Look, what: str, before: str, after: str, ratio: float) -> str:
    return f"{what}: {before} after day {base.number}, {after} after day {last.number}: {ratio:.2f} times"
