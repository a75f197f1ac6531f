"""Trades are stored with the number of their group, and read with its texts, on both databases."""

import pytest
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from bus.delivery import Delivered, Lost
from observer.store.reader import StoreReader
from observer.store.removal import SealedRows
from observer.store.tables import PART_BITS, TRADE_GROUPS, TRADE_ROWS
from observer.store.trade_groups import groups_of
from observer.store.writer import StoreWriter
from tests.builders import trade
from tests.store.plans import Statement, recorded, scans
from tests.store.raw import execute, query

DAY, NEXT_DAY = "2026-11-18", "2026-11-19"
STREAM = "5" * 32
NO_TEXT = "\ud800"  # no database stores it


class Storing:
    """Commits trades as one stream, without asking for its mark in between."""

    def __init__(self, url):
        self.writer = StoreWriter(url)
        self.writer.open()
        self._next = self.writer.high_water_marks([STREAM])[STREAM] + 1

    def commit(self, *trades):
        """Returns how many are in quarantine."""
        first, self._next = self._next, self._next + len(trades)
        return self.writer.commit([Delivered("track-b", STREAM, first, trades)]).quarantined

    def lose(self, count):
        """The next numbers of the stream exist no more."""
        first, self._next = self._next, self._next + count
        self.writer.commit([Lost(STREAM, first, self._next - 1, "lost", "track-b")])


@pytest.fixture
def storing(database_url):
    storing = Storing(database_url)
    yield storing
    storing.writer.close()


def stored(url, session_date=DAY):
    with StoreReader(url) as reader:
        return list(reader.trades(session_date))


def groups(url):
    [(count,)] = query(url, "SELECT count(*) FROM trade_groups")
    return int(str(count))


def test_trades_with_the_same_texts_are_one_group_and_each_other_text_is_another(storing, database_url):
    texts: list[dict[str, object]] = [
        {},
        {"side": "sell"},
        {"session": "after"},
        {"gap_id": "gap-1"},
        {"side_inferred": True},
    ]
    trades = [trade(number, **texts[number % len(texts)]) for number in range(1, 11)]
    storing.commit(*trades[:5])
    storing.commit(*trades[5:])
    assert stored(database_url) == trades
    assert groups(database_url) == len(texts)


def test_new_groups_between_known_ones_are_made_at_once(storing, database_url):
    storing.commit(trade(1))
    mixed = [trade(2), trade(3, side="sell"), trade(4), trade(5, session="after"), trade(6, side="sell")]
    with recorded() as statements:
        assert storing.commit(*mixed) == 0
    assert stored(database_url) == [trade(1), *mixed]
    assert groups(database_url) == 3
    assert len([each for each in statements if each.text.startswith("INSERT INTO trade_groups")]) == 1


def test_the_next_writer_takes_the_groups_that_are_there(storing, database_url):
    storing.commit(trade(1), trade(2, symbol="000660"))
    storing.writer.close()
    following = Storing(database_url)
    following.commit(trade(3), trade(4, symbol="000660"), trade(5, symbol="035420"))
    following.writer.close()
    assert groups(database_url) == 3
    assert len(stored(database_url)) == 5


def test_a_writer_asks_for_the_groups_of_the_parts_that_it_stores(storing, database_url):
    storing.commit(trade(1))
    storing.lose(1 << PART_BITS)
    storing.commit(trade(2))
    storing.writer.close()
    following = Storing(database_url)
    with recorded() as statements:
        following.commit(trade(3))
    following.writer.close()
    asked = [each.text for each in statements if each.is_query and "FROM trade_groups" in each.text]
    assert "trade_groups.part IN" in asked[0]
    engine = create_engine(database_url, poolclass=NullPool)
    with engine.connect() as connection:
        assert [len(groups_of(connection, ["005930"], DAY, parts)) for parts in ({0, 1}, {1}, {2})] == [2, 1, 0]
    assert groups(database_url) == 2


def test_a_refused_trade_leaves_no_group_that_a_later_trade_relies_on(storing, database_url):
    new = {"symbol": "000660"}
    assert storing.commit(trade(1, symbol=NO_TEXT), trade(2, **new), trade(3, price=float("nan"), **new)) in (1, 2)
    assert storing.commit(trade(4, **new), trade(5, symbol=NO_TEXT)) == 1
    assert storing.commit(trade(6, **new)) == 0
    assert {each.cumulative_volume for each in stored(database_url)} >= {2.0, 4.0, 6.0}
    assert groups(database_url) == 1


def test_a_database_that_went_back_gets_its_groups_again(storing, database_url):
    storing.commit(trade(1))
    for table in ("trade_rows", "trade_groups"):
        execute(database_url, f"DELETE FROM {table}")
    assert storing.writer.high_water_marks([STREAM]) == {STREAM: 1}, "a writer asks for the marks when it goes on"
    storing.commit(trade(2))
    assert stored(database_url) == [trade(2)]


def test_groups_leave_with_their_last_row_and_come_again(storing, database_url):
    storing.commit(trade(1), trade(2, side="sell"), trade(3, session_date=NEXT_DAY), trade(4, side="sell"))
    sealed = SealedRows("trades", DAY, STREAM, 1, 3, 2)
    after: int | None = 0
    while after is not None:
        after = storing.writer.remove(sealed, after)
    assert stored(database_url) == [trade(4, side="sell")]
    assert groups(database_url) == 2
    storing.commit(trade(5))
    assert stored(database_url) == [trade(4, side="sell"), trade(5)]


def test_a_group_that_a_commit_learned_before_its_removal_is_made_again(storing, database_url):
    """A commit learns all groups of a line's day, those without a row among them, until the last step removes these."""
    storing.commit(trade(1))
    sealed = SealedRows("trades", DAY, STREAM, 1, 1, 1)
    assert storing.writer.remove(sealed, 0) == 1
    storing.commit(trade(2, side="sell"))
    assert storing.writer.remove(sealed, 1) is None
    storing.commit(trade(3))
    assert stored(database_url) == [trade(2, side="sell"), trade(3)]


@pytest.mark.parametrize(
    "condition",
    [
        f"session_date = '{DAY}' AND symbol = '005930'",
        f"symbol = '005930' AND session_date BETWEEN '{DAY}' AND '{NEXT_DAY}'",
        "stream = 1 AND sequence BETWEEN 3 AND 5",
    ],
)
def test_a_question_by_line_and_day_or_by_position_reads_no_other_trades(own_database_url, condition):
    storing = Storing(own_database_url)
    lines = [(symbol, day) for symbol in ("005930", *(f"{other:06}" for other in range(40))) for day in (DAY, NEXT_DAY)]
    storing.commit(
        *(trade(1 + each, symbol=lines[each % 82][0], session_date=lines[each % 82][1]) for each in range(2_050))
    )
    storing.writer.close()
    engine = create_engine(own_database_url, poolclass=NullPool)
    tables = (TRADE_ROWS, TRADE_GROUPS)
    keys = {"pk_trade_rows": "stream", "pk_trade_groups": "id"}
    indexes = keys | {str(index.name): index.columns[0].name for table in tables for index in table.indexes}
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("ANALYZE trade_rows, trade_groups")
            for way in ("seqscan", "mergejoin", "hashjoin"):  # which read one page of 82 groups rather than search it
                connection.exec_driver_sql(f"SET enable_{way} = off")
        statement = Statement(f"SELECT * FROM trades WHERE {condition}", (), ())
        assert scans(connection, statement, frozenset(table.name for table in tables), indexes) == set()
