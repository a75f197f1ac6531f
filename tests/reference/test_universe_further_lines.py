"""The universe with its stocks' lines at a further venue: which are asked for, and what each member compares with."""

from datetime import timedelta

import msgspec

from bus.events import (
    AlertRaised,
    DailyBar,
    SharesAdjusted,
    UniverseBuilt,
    UniverseMember,
    VenueEligibility,
)
from observer.base.errors import DataFileError, TransportError
from observer.base.local_time import local_ns
from observer.brokers.broker import Bar
from observer.brokers.domestic import VenueTrading
from observer.reference.listings.model import Listing
from observer.reference.universe import venue_facts
from observer.reference.universe.builder import FURTHER_BARS
from observer.reference.universe.further_lines import lines_at
from tests.reference.test_universe_own_bars import (
    BEFORE_PREVIOUS,
    DAYS,
    PREVIOUS,
    TODAY,
    Asked,
    bar,
    built,
    member_of,
    of_kind,
    seen_closed,
    settings,
    store,
)
from tests.store.listings import listing_changed

__all__ = ["settings"]

BOTH = ("KRX", "NXT")
ENDED_NS = local_ns(DAYS[1], 20, 10)


class Venues(Asked):
    """A broker whose list of NXT has some stocks, some of them stopped, of which one may trade again by the call. They
    trade there at 9,500 won and a third of the volume.
    """

    def __init__(self, *on_nxt, stopped=(), again=()):
        super().__init__()
        self.on_nxt = on_nxt
        self.stopped = stopped
        self.again = again
        self.lists_read = 0
        self.asked: list[str] = []

    async def listed_at(self, venue):
        assert venue == "NXT"
        self.lists_read += 1
        stopped = [msgspec.structs.replace(listed(symbol), suspended=True) for symbol in self.stopped]
        return [*map(listed, self.on_nxt), *stopped]

    async def venue_eligibility(self, symbols):
        self.asked += symbols
        return [VenueTrading(symbol, "NXT", symbol in self.again) for symbol in symbols]

    async def daily_bars(self, symbol, first, last):
        if not symbol.endswith(".NXT"):
            return await super().daily_bars(symbol, first, last)
        self.symbols.append(symbol)
        return [Bar(symbol, local_ns(day), *[9_500.0] * 4, 3.0, 3.0, 9_000.0) for day in DAYS[:2]]


def listed(symbol):
    return Listing(
        exchange="KOSPI",
        symbol=symbol,
        name=symbol,
        isin="",
        group="ST",
        base_price=None,
        market_cap=None,
        listed_shares=None,
        listed_on=None,
        suspended=False,
        administrative=False,
        preferred=False,
        spac=False,
    )


def members(events):
    return {event.symbol: event for event in events if isinstance(event, UniverseMember)}


def fact(symbol, day, *, trades):
    return VenueEligibility("kis", day, symbol, "NXT", trades, 1)


def stocks(*symbols):
    return [listing_changed(symbol=symbol, market_cap=1e12 - number) for number, symbol in enumerate(symbols)]


def test_each_stock_that_trades_at_the_further_venue_has_a_second_line_after_all_main_lines(
    settings,
):
    store(settings, *stocks("A", "B", "C"))
    events, answer = built(settings, Venues("B", "C"), BOTH)
    assert [(each.symbol, each.rank, each.venue) for each in members(events).values()] == [
        ("A", 1, "KRX"),
        ("B", 2, "KRX"),
        ("C", 3, "KRX"),
        ("B.NXT", 4, "NXT"),
        ("C.NXT", 5, "NXT"),
    ]
    [reported] = of_kind(events, UniverseBuilt)
    assert reported.symbols == 5
    assert answer == "5 symbols out of 4 listings"


def test_a_second_line_compares_with_the_bars_of_its_own_venue(settings):
    store(settings, *stocks("A"))
    events, _ = built(settings, source := Venues("A"), BOTH)
    assert sorted(source.symbols) == ["A", "A.NXT"]
    main, further = members(events)["A"], members(events)["A.NXT"]
    assert (main.previous_close, main.average_volume_20d) == (9_000.0, 7.0)
    assert (further.previous_close, further.average_volume_20d) == (9_500.0, 3.0)
    assert (main.average_sessions, further.average_sessions) == ("regular+after", "pre+regular+after")
    bars = {(each.symbol, each.venue, each.sessions) for each in events if isinstance(each, DailyBar)}
    assert bars == {("A", "KRX", "regular+after"), ("A.NXT", "NXT", "pre+regular+after")}


def test_the_main_venue_alone_asks_at_no_further_venue(settings):
    store(settings, *stocks("A"))
    events, _ = built(settings, source := Venues("A"))
    assert list(members(events)) == ["A"]
    assert source.lists_read == 0


def test_each_member_has_a_fact_of_the_day_from_one_list_without_a_call(settings):
    store(settings, *stocks("A", "B"), listing_changed(symbol="E", group="EF"))
    events, _ = built(settings, source := Venues("B", "E"), BOTH)
    assert (source.lists_read, source.asked) == (1, [])
    facts = {each.symbol: each for each in events if isinstance(each, VenueEligibility)}
    assert {symbol: (each.session_date, each.venue, each.trades) for symbol, each in facts.items()} == {
        "A": (TODAY, "NXT", False),
        "B": (TODAY, "NXT", True),
    }


def test_a_stock_that_the_list_names_as_stopped_is_asked_about(settings):
    store(settings, *stocks("A", "B", "C"))
    source = Venues("A", stopped=("B", "C", "X"), again=("C",))
    events, _ = built(settings, source, BOTH)
    assert sorted(source.asked) == ["B", "C"]
    assert list(members(events)) == ["A", "B", "C", "A.NXT", "C.NXT"]


def test_without_an_answer_about_a_stopped_stock_its_last_fact_counts_with_an_alert(settings):
    class Silent(Venues):
        async def venue_eligibility(self, symbols):
            if symbols == ["B"]:
                raise TransportError("no answer")
            return await super().venue_eligibility(symbols)

    store(settings, *stocks("A", "B", "C"), fact("B", PREVIOUS, trades=True))
    events, _ = built(settings, Silent("A", stopped=("B", "C"), again=("C",)), BOTH)
    assert list(members(events)) == ["A", "B", "C", "A.NXT", "B.NXT", "C.NXT"]
    assert {each.symbol for each in of_kind(events, VenueEligibility)} == {"A", "C"}
    assert alerts_of(events) == ["1 stocks that NXT's list names as stopped got no answer: B"]


def test_a_list_that_lacks_too_many_known_stocks_is_broken_and_the_last_facts_count(settings):
    names = [f"S{number:02}" for number in range(40)]
    store(settings, *stocks(*names), *(fact(name, PREVIOUS, trades=True) for name in names))
    events, _ = built(settings, Venues(*names[:3]), BOTH)
    assert len(members(events)) == 80
    assert not of_kind(events, VenueEligibility)
    [text] = alerts_of(events)
    assert "it has 3 records and lacks 37 of 40 stocks known there" in text


def test_a_quarter_s_revision_of_the_list_is_believed(settings):
    names = [f"S{number:02}" for number in range(40)]
    store(settings, *stocks(*names), *(fact(name, PREVIOUS, trades=True) for name in names))
    events, _ = built(settings, Venues(*names[:33]), BOTH)
    assert len(members(events)) == 73
    assert not alerts_of(events)


def test_a_fund_that_the_list_names_has_a_second_line_where_the_universe_has_funds(settings):
    """Venues announce new kinds of securities at short notice: their list decides, and no rule of ours."""
    selection = msgspec.structs.replace(settings.selection.universe, exclude_etf=False)
    with_funds = msgspec.structs.replace(
        settings, selection=msgspec.structs.replace(settings.selection, universe=selection)
    )
    store(settings, *stocks("A"), listing_changed(symbol="E", group="EF"))
    events, _ = built(with_funds, Venues("A", "E"), BOTH)
    assert {"A.NXT", "E.NXT"} <= members(events).keys()


def test_the_list_is_not_read_again_when_every_stock_has_a_fact_of_the_day(settings):
    store(settings, *stocks("A", "B"), fact("A", TODAY, trades=True), fact("B", TODAY, trades=False))
    events, _ = built(settings, source := Venues("B"), BOTH)
    assert source.lists_read == 0
    assert list(members(events)) == ["A", "B", "A.NXT"]


class Unreadable(Venues):
    """Its list cannot be read."""

    async def listed_at(self, venue):
        raise DataFileError("no zip")


def alerts_of(events):
    return [each.text for each in events if isinstance(each, AlertRaised) and each.identity == venue_facts.ALERT]


def test_without_the_list_the_last_known_fact_counts_with_an_alert(settings):
    store(settings, *stocks("A", "B"), fact("A", BEFORE_PREVIOUS, trades=False), fact("A", PREVIOUS, trades=True))
    events, _ = built(settings, Unreadable(), BOTH)
    assert list(members(events)) == ["A", "B", "A.NXT"]
    [text] = alerts_of(events)
    assert "the list of NXT cannot be read (no zip)" in text
    assert "the last known one of up to 5 weekdays (universe.eligibility_weekdays_max) counts" in text
    assert text.endswith("1 stocks without one have the main venue alone: B")
    assert not of_kind(events, VenueEligibility)


def test_a_fact_that_is_older_than_the_limit_does_not_count(settings):
    old = (DAYS[2] - timedelta(days=8)).isoformat()  # six weekdays before
    store(settings, *stocks("A"), fact("A", old, trades=True))
    events, _ = built(settings, Unreadable(), BOTH)
    assert list(members(events)) == ["A"]
    assert alerts_of(events)


def test_a_stock_that_left_the_further_venue_has_no_second_line_any_more(settings):
    store(settings, *stocks("A"), fact("A", PREVIOUS, trades=True))
    events, _ = built(settings, Venues(), BOTH)
    assert list(members(events)) == ["A"]
    assert not alerts_of(events)


def test_a_line_that_was_swept_to_the_day_s_end_needs_no_call_for_its_bar(settings):
    earlier = [bar("A", BEFORE_PREVIOUS), msgspec.structs.replace(bar("A.NXT", BEFORE_PREVIOUS), venue="NXT")]
    whole = {"receive_time_ns": ENDED_NS, "cumulative_volume": 50.0}
    seen = seen_closed("A.NXT")
    store(settings, *stocks("A"), *earlier, seen_closed("A"), seen, msgspec.structs.replace(seen, **whole))
    events, _ = built(settings, source := Venues("A"), BOTH)
    assert source.symbols == []
    bars = {each.symbol: (each.volume, each.sessions) for each in events if isinstance(each, DailyBar)}
    assert bars["A.NXT"] == (50.0, "pre+regular+after")
    assert bars["A"][1] == "regular"
    assert member_of(events, "A").average_sessions == "regular, unknown"  # of the stored bar nothing is known


def test_a_split_holds_for_all_lines_of_the_stock_and_the_base_price_of_a_further_venue_is_none(
    settings,
):
    """The base price at NXT is the KRX's close, 9,000, where NXT's own close was 9,500: that is no split."""
    known = SharesAdjusted("kis", "A", PREVIOUS, TODAY, 1_800.0, 9_000.0)
    store(
        settings,
        *stocks("A"),
        *(bar("A", day) for day in (BEFORE_PREVIOUS, PREVIOUS)),
        known,
    )
    events, _ = built(settings, Venues("A"), BOTH)
    assert of_kind(events, SharesAdjusted) == [msgspec.structs.replace(known, symbol="A.NXT")]
    assert members(events)["A.NXT"].average_volume_20d == (5 * 3.0 + 3.0) / 2


def test_a_line_without_a_bar_of_its_own_compares_with_its_stock_s_close(settings):
    class Barless(Venues):
        async def daily_bars(self, symbol, first, last):
            return [] if symbol.endswith(".NXT") else await super().daily_bars(symbol, first, last)

    store(settings, *stocks("A"))
    events, _ = built(settings, Barless("A"), BOTH)
    found = members(events)["A.NXT"]
    assert (found.previous_close, found.close_is_base, found.average_volume_20d) == (9_000.0, True, None)


def test_an_outage_of_a_further_venue_s_bars_is_an_alert_and_costs_the_main_lines_nothing(settings):
    class Away(Venues):
        async def daily_bars(self, symbol, first, last):
            if symbol.endswith(".NXT"):
                raise TransportError("the host does not answer")
            return await super().daily_bars(symbol, first, last)

    store(settings, *stocks("A"), bar("A.NXT", BEFORE_PREVIOUS))
    events, _ = built(settings, Away("A"), BOTH)
    assert members(events)["A"].average_volume_20d == 7.0
    further = members(events)["A.NXT"]
    assert (further.average_volume_20d, further.close_is_base) == (5.0, True)
    [alert] = [each for each in events if isinstance(each, AlertRaised) and each.identity == FURTHER_BARS]
    assert "the host does not answer" in alert.text


def test_lines_are_in_the_order_of_the_venues_and_then_of_the_stocks():
    main = [msgspec.structs.replace(MEMBER, symbol=symbol) for symbol in "ABC"]
    found = lines_at(main, {"X": frozenset("CA"), "Y": frozenset("B")}, "M")
    assert list(found) == ["A.X", "C.X", "B.Y"]
    assert [each.symbol for each in found.values()] == ["A", "C", "B"]


MEMBER = UniverseMember("kis", "kr_stocks", TODAY, 1, "A", "A", "KOSPI", 1.0, 1.0, None, None)
