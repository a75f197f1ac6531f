"""Statements are compiled once a process, for all engines of a kind of database."""

from contextlib import closing
from uuid import uuid4

from sqlalchemy import bindparam, column, literal, select
from sqlalchemy.engine.interfaces import CacheStats

from observer.store.compiled_statements import make_engine
from observer.store.engine import open_reader, open_writer, parse_url
from observer.store.tables import STREAMS
from tests.store.migrated import make_database


def _cached(url, statement):
    """Whether a new engine's execution finds the statement compiled."""
    engine = open_reader(url)
    try:
        with engine.connect() as connection, closing(connection.execute(statement)) as result:
            return bool(result.context.cache_hit is CacheStats.CACHE_HIT)
    finally:
        engine.dispose()


def test_a_second_engine_does_not_compile_a_statement_again(database_url):
    label = f"seen_{uuid4().hex}"  # compiled statements stay for the process: a second run of this test has another one
    statement = select(STREAMS.c.id, column("uid").label(label)).select_from(STREAMS)
    assert not _cached(database_url, statement)
    assert _cached(database_url, statement)
    assert not _cached(database_url, statement.where(STREAMS.c.id == 1))


def test_engines_of_other_databases_share_statements_but_not_values(database_url, tmp_path):
    other_url = f"sqlite:///{tmp_path / 'other.sqlite3'}"
    make_database(other_url)
    for url, number in ((database_url, 1), (other_url, 2)):
        engine = open_writer(url)
        with engine.begin() as connection:
            values = {"id": 7, "uid": f"{number}" * 32, "producer": "p", "high_water_mark": number, "duplicates": 0}
            connection.execute(STREAMS.insert(), values)
            asked = select(STREAMS.c.high_water_mark + bindparam("more")).where(STREAMS.c.id == 7)
            assert connection.scalar(asked, {"more": 10}) == 10 + number
        engine.dispose()


def test_the_statements_that_are_kept_are_bounded(tmp_path):
    engine = make_engine(parse_url(f"sqlite:///{tmp_path / 'empty.sqlite3'}"))
    with engine.connect() as connection:
        for number in range(1_600):
            connection.execute(select(literal(1).label(f"column_{number}")))
        kept = connection.get_execution_options()["compiled_cache"]
    engine.dispose()
    assert 1_000 <= len(kept) <= 1_500
