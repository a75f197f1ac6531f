"""No query of the store scans a table that grows, on both databases: every statement that it issues is explained."""

import inspect
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import pytest
from sqlalchemy import create_engine
from sqlalchemy import inspect as inspected
from sqlalchemy.pool import NullPool

from bus.delivery import Delivered, Lost
from bus.events import Poison
from observer.gaps.intervals import Interval
from observer.store.alerts import AlertReader
from observer.store.arrow import schema_of
from observer.store.day_rows import count_days, count_rows, rows_of_days
from observer.store.etf import EtfReader
from observer.store.exports import Ledgers
from observer.store.kinds import KINDS, REMOVABLE, kind_named
from observer.store.removal import SealedRows, count_left, lacks_snapshots, remove_batch
from observer.store.research import ResearchReader
from observer.store.scanned_rows import stored_rows
from observer.store.sectors import SectorReader
from observer.store.sizes import SizeReader
from observer.store.slots import day_bounds
from observer.store.statistics import refresh_statistics
from observer.store.tables import ROW_TABLES, TRADE_GROUPS
from observer.store.writer import StoreWriter
from tests.store.filled import GAP_ID, SESSIONS, STREAM, SYMBOLS, events, ten_ns
from tests.store.plans import Statement, call_sites, recorded, scans
from tests.store.raw import execute, query

DAY, NEXT_DAY = SESSIONS
NOON_NS = ten_ns(DAY) + 7_200_000_000_000
SESSION = Interval(ten_ns(DAY), NOON_NS)
FROM_NS, TO_NS = day_bounds(DAY)

SEALED: Final = SealedRows("trades", DAY, STREAM, 1, 100, 1)

# The arguments of every public query. A reader's method that is not here fails the first test.
CALLS: Final[Mapping[str, tuple[tuple[Any, ...], ...]]] = {
    "last_session": ((),),
    "has_session": ((DAY,), ("2030-01-01",)),
    "sessions": ((),),
    "quarantined_input_bytes": ((FROM_NS, TO_NS),),
    "trades": ((DAY,),),
    "duplicate_trades": ((DAY,),),
    "sessions_without_profile": ((NEXT_DAY, 20), ("2026-11-19", 20)),
    "volume_profiles": ((DAY, 20, NOON_NS),),
    "last_marks": ((DAY, SYMBOLS),),
    "snapshots": ((DAY, FROM_NS, TO_NS),),
    "completed_sweeps": ((DAY,),),
    "last_sweep": ((DAY,),),
    "sweeps": ((DAY,),),
    "price_snapshots": ((DAY,),),
    "volume_rises": ((DAY, FROM_NS),),
    "tape_pages": ((DAY,), (DAY, SYMBOLS[0])),
    "tape_part": ((DAY, None, (SYMBOLS[0], 1, 1)), (DAY, SYMBOLS[0], (SYMBOLS[0], 1, 1))),
    "tape_progress": ((DAY,),),
    "tape_reports": ((DAY,), (DAY, SYMBOLS[0])),
    "held_spans": ((SYMBOLS[0], DAY),),
    "decided": ((DAY,), (DAY, {STREAM: 1})),
    "is_behind": (({STREAM: 1},),),
    "lines_with_minute_bars": ((DAY,),),
    "daily_bars": ((20,), (20, SYMBOLS[0])),
    "closes": ((DAY,),),
    "earlier_days": ((NEXT_DAY, 20, NEXT_DAY), ("2026-11-19", 20, "2026-11-19")),
    "trade_volumes": ((DAY,),),
    "share_adjustments": ((DAY, NEXT_DAY),),
    "tradable": (("KOSPI",), ("NASDAQ",)),
    "symbols_reported": (("KOSPI",),),
    "listing": (("KOSPI", SYMBOLS[0]),),
    "listings": (("KOSPI",),),
    "counts": ((),),
    "checks": ((FROM_NS,), (FROM_NS, "KOSPI")),
    "last_checks": ((),),
    "new_listings": ((FROM_NS,),),
    "active_listings": (("KOSPI",),),
    "inactive_listings": (("KOSPI",),),
    "universe": ((DAY, "KR"), (DAY, "KR", ten_ns(DAY))),
    "universe_built": ((DAY, "KR"),),
    "universe_in_force": ((DAY, "KR", NOON_NS, "2026-11-01"),),
    "venue_eligibility": ((DAY, NEXT_DAY),),
    "decision_events": ((DAY,),),
    "slot_events": ((DAY,),),
    "pins_before": ((NEXT_DAY,),),
    "slot_status_events": ((DAY,),),
    "streamed_times": ((DAY, NOON_NS), (DAY, TO_NS)),
    "slot_history": ((DAY,), (DAY, SYMBOLS[0])),
    "open_slots": ((FROM_NS, TO_NS), (FROM_NS,)),
    "last_assignment_ns": ((TO_NS,),),
    "triggers_fired": ((DAY, SYMBOLS[0]),),
    "latest_connections": ((FROM_NS,),),
    "latest_tokens": (("accounts",),),
    "stream_times": ((DAY, NOON_NS),),
    "stream_hours": ((DAY, NOON_NS),),
    "openings": ((DAY,), (DAY, SYMBOLS[0])),
    "cut_ids": ((DAY,),),
    "opening": (("cut-0",),),
    "last_accounts": ((DAY,),),
    "gap_times": ((DAY,),),
    "open_gaps": ((DAY,),),
    "gaps": ((NEXT_DAY,), (NEXT_DAY, SYMBOLS[0])),
    "gap": ((GAP_ID,),),
    "gap_ids": ((NEXT_DAY, "ga"),),
    "recovered_rows": (),  # of a gap that another query finds
    "stored_names": (),  # as well
    "quality": ((DAY,), (DAY, SYMBOLS[0])),
    "symbol_days": ((DAY, NOON_NS, SESSION), (DAY, NOON_NS, SESSION, SYMBOLS[:1])),
    "day_volumes": ((DAY, SESSION, SYMBOLS),),
    "judged_trades": ((SYMBOLS[0], DAY),),
    "bar_fetches": ((SYMBOLS[0], DAY),),
    "bars_of_days": ((SYMBOLS[0], DAY, NEXT_DAY),),
    "minute_fetches": ((DAY,),),
    "fetched_minute_bars": ((SYMBOLS[0], DAY),),
    "stored_trades": ((SYMBOLS[0], DAY),),
    "bar_checks": ((DAY,),),
    "best_quote": ((SYMBOLS[0], NOON_NS),),
    "by_stock": (),  # of reports that another query finds
    "row_counts": ((),),
    "total_rows": ((),),
    "rows_and_marks": ((lambda: [SEALED],),),
    "quarantined": ((),),
    "epochs": ((),),
    "created_ns": ((),),
    "newest_ns": ((),),
    "committed_events": ((),),
    "streams": ((),),
    "day_summary": ((DAY,),),
    "swept_volume": ((DAY, "KRX", (FROM_NS, NOON_NS)),),
    "etfs": ((),),
    "etf": (("069500",),),
    "last_etf_jobs": ((),),
    "valued_since": ((FROM_NS,),),
    "valued_between": ((FROM_NS, TO_NS),),
    "failure_since": (("etf_values", FROM_NS),),
    "nav_days": (("069500", DAY),),
    "indexed_sessions": ((DAY,),),
    "etf_ranges": ((DAY, "EF"),),
    "stocks": (("KR",),),
    "assignments": (("KR",),),
    "assignment": (("KOSPI", SYMBOLS[0]),),
    "last_rounds": ((),),
    "alerts": ((FROM_NS, TO_NS), ()),
    "sizes": ((),),
    "last_days": ((5,),),
    "day_rows": ((DAY,),),
}

# Queries about the whole database by their nature, with the reason; all others read what they ask for.
WHOLE: Final[Mapping[str, str]] = {
    "row_counts": "`observer doctor` and the end of a demo: do all rows exist?",
    "total_rows": "likewise",
    "rows_and_marks": "likewise",
    "digest": "the content of two databases",
}

# Files without a query of a table that grows: connections, locks, the owner's one row, the schema, the database's own
# check of itself; `digest`; and the
# rows of a day as columns, which have tests of their own below, with the files that ask for them.
OTHERS: Final = (
    "admission.py", "backup.py", "digest.py", "engine.py", "identity.py", "owner.py",
    "restore.py", "statistics.py", "views.py", "write_ahead_log.py", "arrow.py", "research.py", "sealing.py",
    "scan.py", "scanned_rows.py", "columns.py", "integrity.py", "schema_change.py", "day_rows.py", "day_totals.py",
    "transaction.py",
)  # fmt: skip

READERS: Final = (EtfReader, SectorReader, AlertReader, SizeReader)  # an `EtfReader` is a `StoreReader`
# A row in another table of the store is a start of a process, a restored database, or an event that was lost or
# refused: few, and the events of a day are not among them.
GROWING: Final = frozenset(table.name for table in (*ROW_TABLES.values(), TRADE_GROUPS))


def queries_of(reader):
    """The names of a reader's public queries."""
    methods = (name for name, _ in inspect.getmembers(reader, inspect.isfunction) if not name.startswith("_"))
    return [name for name in methods if name != "close"]


def test_every_query_of_every_reader_is_called_here():
    assert {name for reader in READERS for name in queries_of(reader)} == set(CALLS)


@pytest.fixture(scope="module")
def statements(whole_database_url, tmp_path_factory):
    """By query, its statements on a filled database; also the writer's and those of the ledgers."""
    found: dict[str, Sequence[Statement]] = {}
    with recorded() as of_writer:
        write(whole_database_url)
    found["writer"] = of_writer
    for kind in READERS:
        with kind(whole_database_url) as reader:
            for name in queries_of(kind):
                with recorded() as of_query:
                    for arguments in CALLS[name]:
                        consume(getattr(reader, name)(*arguments))
                found[name] = [*found.get(name, ()), *of_query]
    engine = create_engine(whole_database_url, poolclass=NullPool)
    with recorded() as of_removal, engine.connect() as connection:
        assert remove_batch(connection, SEALED, 0) is not None
        assert count_left(connection, SEALED) == 0
        assert not lacks_snapshots(connection, NEXT_DAY)
        connection.rollback()
    found["removal"] = of_removal
    with recorded() as of_ledgers:
        ledgers = Ledgers(whole_database_url, tmp_path_factory.mktemp("ledgers"), "kis", "kr_stocks")
        ledgers.catch_up()
        ledgers.rebuild(NEXT_DAY)
        ledgers.close()
    found["ledgers"] = of_ledgers
    with EtfReader(whole_database_url) as reader, recorded() as of_gap:
        [story] = [story for story in reader.gaps(NEXT_DAY) if story.gap.gap_id == GAP_ID]
        reader.recovered_rows(story.gap)
    found["recovered_rows"] = of_gap
    with recorded() as of_stocks:
        reader.by_stock(DAY, reader.quality(DAY))
    found["by_stock"] = of_stocks
    with recorded() as of_volumes:
        reader.stored_names(story.gap)
    found["stored_names"] = of_volumes
    with ResearchReader(whole_database_url) as research, recorded() as of_days:
        for name in sorted(KINDS):
            research.counts(name, SESSIONS)
        research.days_of_gaps(SESSIONS)
        research.totals(DAY, {}, [(name, "") for name in sorted(KINDS)])
        research.lacking_snapshots(SESSIONS)
    found["research, several days"] = of_days
    return found


def write(url):
    writer = StoreWriter(url)
    writer.open()
    writer.begin_epoch("created")
    writer.epoch()
    all_events = [*events(), Poison(b"x", "no event")]
    end = len(all_events) + 1
    writer.commit([Delivered("track-b", STREAM, 1, all_events), Lost(STREAM, end, end, "gone", "track-b")])
    writer.high_water_marks([STREAM])
    writer.note_duplicates(STREAM, 1)
    writer.lost_events()
    writer.remove(SealedRows("trades", "2000-01-01", STREAM, 1, 1, 0), 0)
    writer.close()


def consume(answer):
    """Read an iterator to its end: its statements run on the way."""
    if isinstance(answer, Iterator):
        deque(answer, maxlen=0)


@contextmanager
def explaining(url):
    """A connection whose plans use an index wherever one serves."""
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("SET enable_seqscan = off")
        yield connection


def found_scans(connection, statements):
    indexes = first_columns(connection)
    return sorted(
        {
            f"{query} scans {table}: {' '.join(statement.text.split())[:300]}"
            for query, of_query in statements.items()
            for statement in of_query
            if statement.is_query and query not in WHOLE
            for table in scans(connection, statement, GROWING, indexes)
        }
    )


def first_columns(connection):
    """By index its first column."""
    inspector = inspected(connection)
    found: dict[str, str] = {}
    for table in inspector.get_table_names():
        key = inspector.get_pk_constraint(table)
        found[str(key["name"])] = str(next(iter(key["constrained_columns"])))
        for index in inspector.get_indexes(table):
            found[str(index["name"])] = str(index["column_names"][0])
    return found


def test_no_query_scans_a_table_that_grows(whole_database_url, statements):
    with explaining(whole_database_url) as connection:
        assert found_scans(connection, statements) == []


@pytest.mark.parametrize("days", [[DAY], [DAY, NEXT_DAY]])
def test_days_of_a_kind_are_read_and_counted_without_the_other_days(whole_database_url, statements, days):
    scanned = set()
    with explaining(whole_database_url) as connection:
        indexes = first_columns(connection)
        for kind in KINDS.values():
            for symbols in (None, [SYMBOLS[0]]):
                statement = rows_of_days(connection, kind, days, schema_of(kind.name).names, symbols)
                text = str(statement.compile(connection, compile_kwargs={"literal_binds": True}))
                scanned |= scans(connection, Statement(text.replace("%", "%%"), (), ()), GROWING, indexes)
            with recorded() as of_count:
                assert count_days(connection, kind.name, SESSIONS)[DAY] == count_rows(connection, kind.name, DAY)
            for counted in of_count:
                scanned |= scans(connection, counted, GROWING, indexes)
    assert scanned == set()


def test_rows_between_two_numbers_of_a_stream_are_found_by_the_primary_key(whole_database_url, statements):
    with explaining(whole_database_url) as connection:
        indexes = first_columns(connection)
        for kind in sorted(REMOVABLE):
            wanted = stored_rows(connection, kind_named(kind), DAY).statement(1, 1, 100)
            text = str(wanted.compile(connection, compile_kwargs={"literal_binds": True})).replace("%", "%%")
            assert not scans(connection, Statement(text, (), ()), GROWING, indexes)
            assert TRADE_GROUPS.name not in text, "a trade's texts are read once for its group"
            if connection.dialect.name == "sqlite":
                plan = plan_of(connection, Statement(text, (), ()))
                assert "USING PRIMARY KEY (stream=? AND sequence>? AND sequence<?)" in plan


@pytest.mark.parametrize("whole_database_url", ["sqlite"], indirect=True)
def test_a_symbol_s_snapshots_of_a_day_are_read_without_those_of_the_others(whole_database_url, statements):
    of_snapshots = [each for each in statements["symbol_days"] if "FROM snapshots" in each.text]
    with explaining(whole_database_url) as connection:
        plans = [plan_of(connection, each) for each in of_snapshots]
    assert len(plans) == len(SYMBOLS) + 1
    assert all("USING INDEX ix_snapshots_symbol_session_date (symbol=? AND session_date=?)" in plan for plan in plans)


def plan_of(connection, statement):
    plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement.text}", statement.parameters)
    return "; ".join(row[3] for row in plan)


def pretend_to_hold_a_year(url):
    """Statistics of a million rows of 250 days in each table of events: SQLite scans a table that has ten
    rows by its statistics.
    """
    for table, index, found in query(url, "SELECT tbl, idx, stat FROM sqlite_stat1"):
        if table in GROWING:
            columns = len(str(found).split()) - 1
            numbers = [1_000_000, *(max(1, 4_000 // 20**column) for column in range(columns))]
            stat = " ".join(map(str, numbers))
            execute(url, f"UPDATE sqlite_stat1 SET stat = '{stat}' WHERE tbl = '{table}' AND idx = '{index}'")


@pytest.mark.parametrize("whole_database_url", ["sqlite"], indirect=True)
def test_no_query_scans_a_table_whose_statistics_are_known(whole_database_url, statements):
    refresh_statistics(whole_database_url)
    pretend_to_hold_a_year(whole_database_url)
    with explaining(whole_database_url) as connection:
        assert found_scans(connection, statements) == []


def test_every_statement_of_the_store_is_explained(statements):
    reached = {site for of_query in statements.values() for each in of_query for site in each.sites}
    missed = [
        (name, lines.start)
        for (name, _), lines in call_sites(OTHERS).items()
        if not any((name, line) in reached for line in lines)
    ]
    assert missed == [], "call it above, so that its plan is explained"
