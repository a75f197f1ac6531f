"""Bars of the official minute bars that a backfill fetched."""

import pytest

import observer
from bus.events import BarsFetched, Event, MinuteBarFetched
from observer.base.errors import ConfigError
from observer.research.errors import NotCollected, UnknownSymbol
from tests.research.stored import DAY, append, at, make_store, url_of

EARLIER = "2026-11-11"  # before the first stored session


def fetched(symbol, day, *minutes, outcome="equal", venue="KRX"):
    """A fetched day of minutes with a price and a volume."""
    received_ns = at("21:00:00", DAY)
    rows: list[Event] = [
        MinuteBarFetched(
            *("kis", symbol, day, at(time, day), price, price + 1, price - 1, price, volume, price * volume),
            *("past_day", received_ns, venue),
        )
        for time, price, volume in minutes
    ]
    volume = sum(each[2] for each in minutes)
    counts = (len(minutes), 0, volume, volume, 1, received_ns)
    return [*rows, BarsFetched("kis", symbol, day, day, "minutes", outcome, *counts, venue)]


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    folder = make_store(tmp_path_factory.mktemp("official"))
    events = [
        *fetched("005930", EARLIER, ("09:00:00", 70_000, 5), ("09:01:00", 70_100, 7), ("09:06:00", 70_200, 1)),
        *fetched("035420", EARLIER, ("09:00:00", 200, 5)),
        *fetched("035420.NXT", EARLIER, ("09:00:00", 300, 2), outcome="differs", venue="NXT"),
        *fetched("000660", EARLIER, outcome="nothing"),
        *fetched("005930", EARLIER, ("09:06:00", 70_300, 2)),  # fetched again
    ]
    append(url_of(folder), "7" * 32, *events)
    with observer.open_store(folder) as opened:
        yield opened


def test_official_bars_of_a_day_before_the_first_session(official):
    found = official.bars("005930", EARLIER, source="official").collect()
    assert [each.strftime("%H:%M") for each in found["time"]] == ["09:00", "09:01", "09:06"]
    columns = ("open", "high", "low", "close", "volume", "vwap", "trades", "filled", "complete")
    assert found.select(columns).row(2) == (70_300, 70_301, 70_299, 70_300, 2, 70_300, None, 2, True)
    five = official.bars("005930", EARLIER, interval="5m", source="official").collect()
    assert five.select("open", "high", "close", "volume").rows() == [
        (70_000, 70_101, 70_100, 12),
        (70_300, 70_301, 70_300, 2),
    ]


def test_a_stock_s_official_bar_covers_its_venues_and_is_complete_where_each_is_proved(official):
    [both] = official.bars("035420", EARLIER, source="official").collect().to_dicts()
    assert (both["volume"], both["complete"]) == (7, False)
    [main] = official.bars("035420.NXT", EARLIER, source="official").collect().to_dicts()
    assert main["volume"] == 2


def test_a_fetched_day_without_bars_is_empty_and_one_that_is_not_fetched_names_the_command(official):
    assert official.bars("000660", EARLIER, source="official").collect().is_empty()
    with pytest.raises(NotCollected, match=r"backfill bars --minutes --from 2026-11-18 --to 2026-11-18 --symbols 0059"):
        official.bars("005930", DAY, source="official")
    with pytest.raises(NotCollected, match="of any symbol on 2026-11-18 are fetched"):
        official.bars(None, DAY, source="official")
    with pytest.raises(UnknownSymbol):
        official.bars("nothing", EARLIER, source="official")


def test_official_bars_are_of_whole_minutes_and_as_of_their_fetch(official):
    with pytest.raises(ConfigError, match="whole minutes"):
        official.bars("005930", EARLIER, interval="30s", source="official")
    assert official.bars("005930", EARLIER, source="official", known_at="2026-11-18 20:00:00").collect().is_empty()
    everything = official.bars(None, EARLIER, source="official").collect()
    assert everything["symbol"].unique().sort().to_list() == ["005930", "035420"]


def test_bars_of_trades_do_not_take_fetched_ones(store, tmp_path):
    folder = make_store(tmp_path)
    append(url_of(folder), "7" * 32, *fetched("005930", DAY, ("09:03:00", 1, 1)))
    with observer.open_store(folder) as opened:
        assert opened.bars("005930", DAY).collect().equals(store.bars("005930", DAY).collect())
        assert opened.bars("005930", DAY, source="official").collect()["volume"].to_list() == [1]
