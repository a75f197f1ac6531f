"""The universe with its stocks' lines at a further venue: which are asked for, and what each member compares with."""

import asyncio
from collections.abc import Sequence
from datetime import date, timedelta

import msgspec
import pytest

from bus.events import (
    AlertRaised,
    DailyBar,
    Event,
    SharesAdjusted,
    UniverseBuilt,
    UniverseMember,
    VenueEligibility,
)
from observer.config import Settings
from observer.errors import BadRequestError, TransportError
from observer.local_time import local_ns
from observer.providers.broker import Bar
from observer.providers.domestic import VenueTrading
from observer.universe import venue_facts
from observer.universe.builder import FURTHER_BARS
from observer.universe.further_lines import lines_at
from tests.store.listings import listing_changed
from tests.universe.test_universe_own_bars import (
    BEFORE_PREVIOUS,
    DAYS,
    PREVIOUS,
    TODAY,
    Asked,
    bar,
    built,
    member_of,
    seen_closed,
    settings,
    store,
)

__all__ = ["settings"]

BOTH = ("KRX", "NXT")
ENDED_NS = local_ns(DAYS[1], 20, 10)


class Venues(Asked):
    """A broker at which some stocks trade at NXT, at 9,500 won there and a third of the volume."""

    def __init__(self, *on_nxt: str) -> None:
        super().__init__()
        self.on_nxt = on_nxt
        self.asked: list[str] = []

    async def venue_eligibility(self, symbols: Sequence[str]) -> Sequence[VenueTrading]:
        self.asked += symbols
        return [VenueTrading(symbol, "NXT", symbol in self.on_nxt) for symbol in symbols]

    async def daily_bars(self, symbol: str, first: date, last: date) -> Sequence[Bar]:
        if not symbol.endswith(".NXT"):
            return await super().daily_bars(symbol, first, last)
        self.symbols.append(symbol)
        return [Bar(symbol, local_ns(day), *[9_500.0] * 4, 3.0, 3.0, 9_000.0) for day in DAYS[:2]]


def of_kind(events: Sequence[Event], kind: type[Event]) -> list[Event]:
    return [event for event in events if isinstance(event, kind)]


def members(events: Sequence[Event]) -> dict[str, UniverseMember]:
    return {event.symbol: event for event in events if isinstance(event, UniverseMember)}


def fact(symbol: str, day: str, *, trades: bool) -> VenueEligibility:
    return VenueEligibility("kis", day, symbol, "NXT", trades, 1)


def stocks(*symbols: str) -> list[Event]:
    return [listing_changed(symbol=symbol, market_cap=1e12 - number) for number, symbol in enumerate(symbols)]


def test_each_stock_that_trades_at_the_further_venue_has_a_second_line_after_all_main_lines(
    settings: Settings,
) -> None:
    store(settings, *stocks("A", "B", "C"))
    events, answer = asyncio.run(built(settings, Venues("B", "C"), BOTH))
    assert [(each.symbol, each.rank, each.venue) for each in members(events).values()] == [
        ("A", 1, "KRX"),
        ("B", 2, "KRX"),
        ("C", 3, "KRX"),
        ("B.NXT", 4, "NXT"),
        ("C.NXT", 5, "NXT"),
    ]
    [reported] = [event for event in events if isinstance(event, UniverseBuilt)]
    assert reported.symbols == 5
    assert answer == "5 symbols out of 4 listings"


def test_a_second_line_compares_with_the_bars_of_its_own_venue(settings: Settings) -> None:
    store(settings, *stocks("A"))
    events, _ = asyncio.run(built(settings, source := Venues("A"), BOTH))
    assert sorted(source.symbols) == ["A", "A.NXT"]
    main, further = members(events)["A"], members(events)["A.NXT"]
    assert (main.previous_close, main.average_volume_20d) == (9_000.0, 7.0)
    assert (further.previous_close, further.average_volume_20d) == (9_500.0, 3.0)
    assert (main.average_sessions, further.average_sessions) == ("regular+after", "pre+regular+after")
    bars = {(each.symbol, each.venue, each.sessions) for each in events if isinstance(each, DailyBar)}
    assert bars == {("A", "KRX", "regular+after"), ("A.NXT", "NXT", "pre+regular+after")}


def test_the_main_venue_alone_asks_at_no_further_venue(settings: Settings) -> None:
    store(settings, *stocks("A"))
    events, _ = asyncio.run(built(settings, source := Venues("A")))
    assert list(members(events)) == ["A"]
    assert source.asked == []


def test_each_stock_has_a_fact_of_the_day_and_only_members_are_asked(settings: Settings) -> None:
    store(settings, *stocks("A", "B"), listing_changed(symbol="E", group="EF"))
    events, _ = asyncio.run(built(settings, source := Venues("B"), BOTH))
    assert sorted(source.asked) == ["A", "B"]
    facts = {each.symbol: each for each in events if isinstance(each, VenueEligibility)}
    assert {symbol: (each.session_date, each.venue, each.trades) for symbol, each in facts.items()} == {
        "A": (TODAY, "NXT", False),
        "B": (TODAY, "NXT", True),
    }


def test_a_stock_with_a_fact_of_this_day_is_not_asked_again(settings: Settings) -> None:
    store(settings, *stocks("A", "B"), fact("A", TODAY, trades=True), fact("B", PREVIOUS, trades=True))
    events, _ = asyncio.run(built(settings, source := Venues(), BOTH))
    assert source.asked == ["B"]
    assert list(members(events)) == ["A", "B", "A.NXT"]


class Silent(Venues):
    """It does not answer about some stocks."""

    def __init__(self, *silent: str, error: type[Exception] = TransportError) -> None:
        super().__init__()
        self.silent = silent
        self.error = error

    async def venue_eligibility(self, symbols: Sequence[str]) -> Sequence[VenueTrading]:
        found = await super().venue_eligibility(symbols)
        if set(symbols) & set(self.silent):
            raise self.error("no answer")
        return found


def alerts_of(events: Sequence[Event]) -> list[str]:
    return [each.text for each in events if isinstance(each, AlertRaised) and each.identity == venue_facts.ALERT]


def test_without_an_answer_the_last_known_fact_counts_with_an_alert(settings: Settings) -> None:
    store(settings, *stocks("A", "B"), fact("A", BEFORE_PREVIOUS, trades=False), fact("A", PREVIOUS, trades=True))
    events, _ = asyncio.run(built(settings, Silent("A", "B"), BOTH))
    assert list(members(events)) == ["A", "B", "A.NXT"]
    [text] = alerts_of(events)
    assert "2 stocks got no answer at which venues they trade on" in text
    assert "1 have their last known answer of up to 5 weekdays (universe.eligibility_weekdays_max)" in text
    assert text.endswith("1 without one have the main venue alone: B")
    assert not of_kind(events, VenueEligibility)


def test_a_fact_that_is_older_than_the_limit_does_not_count(settings: Settings) -> None:
    old = (DAYS[2] - timedelta(days=8)).isoformat()  # six weekdays before
    store(settings, *stocks("A"), fact("A", old, trades=True))
    events, _ = asyncio.run(built(settings, Silent("A"), BOTH))
    assert list(members(events)) == ["A"]
    assert alerts_of(events)


def test_a_stock_that_left_the_further_venue_has_no_second_line_any_more(settings: Settings) -> None:
    store(settings, *stocks("A"), fact("A", PREVIOUS, trades=True))
    events, _ = asyncio.run(built(settings, Venues(), BOTH))
    assert list(members(events)) == ["A"]
    assert not alerts_of(events)


def test_an_outage_of_the_call_ends_the_questions_and_not_the_universe(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(venue_facts, "_OUTAGE", 2)
    monkeypatch.setattr(venue_facts, "CALLS_AT_ONCE", 1)
    symbols = ["A", "B", "C", "D", "F"]
    store(settings, *stocks(*symbols))
    events, _ = asyncio.run(built(settings, source := Silent(*symbols), BOTH))
    assert source.asked == ["A", "B"]
    assert list(members(events)) == symbols
    [text] = alerts_of(events)
    assert text.startswith("5 stocks got no answer")


def test_a_refusal_of_one_stock_does_not_end_the_questions(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(venue_facts, "_OUTAGE", 1)
    monkeypatch.setattr(venue_facts, "CALLS_AT_ONCE", 1)
    store(settings, *stocks("A", "B"))
    _, _ = asyncio.run(built(settings, source := Silent("A", error=BadRequestError), BOTH))
    assert source.asked == ["A", "B"]


def test_a_line_that_was_swept_to_the_day_s_end_needs_no_call_for_its_bar(settings: Settings) -> None:
    earlier = [bar("A", BEFORE_PREVIOUS), msgspec.structs.replace(bar("A.NXT", BEFORE_PREVIOUS), venue="NXT")]
    whole = {"receive_time_ns": ENDED_NS, "cumulative_volume": 50.0}
    seen = seen_closed("A.NXT")
    store(settings, *stocks("A"), *earlier, seen_closed("A"), seen, msgspec.structs.replace(seen, **whole))
    events, _ = asyncio.run(built(settings, source := Venues("A"), BOTH))
    assert source.symbols == []
    bars = {each.symbol: (each.volume, each.sessions) for each in events if isinstance(each, DailyBar)}
    assert bars["A.NXT"] == (50.0, "pre+regular+after")
    assert bars["A"][1] == "regular"
    assert member_of(events, "A").average_sessions == "regular, unknown"  # of the stored bar nothing is known


def test_a_split_holds_for_all_lines_of_the_stock_and_the_base_price_of_a_further_venue_is_none(
    settings: Settings,
) -> None:
    """The base price at NXT is the KRX's close, 9,000, where NXT's own close was 9,500: that is no split."""
    known = SharesAdjusted("kis", "A", PREVIOUS, TODAY, 1_800.0, 9_000.0)
    store(
        settings,
        *stocks("A"),
        *(bar("A", day) for day in (BEFORE_PREVIOUS, PREVIOUS)),
        known,
    )
    events, _ = asyncio.run(built(settings, Venues("A"), BOTH))
    assert of_kind(events, SharesAdjusted) == [msgspec.structs.replace(known, symbol="A.NXT")]
    assert members(events)["A.NXT"].average_volume_20d == (5 * 3.0 + 3.0) / 2


def test_a_line_without_a_bar_of_its_own_compares_with_its_stock_s_close(settings: Settings) -> None:
    class Barless(Venues):
        async def daily_bars(self, symbol: str, first: date, last: date) -> Sequence[Bar]:
            return [] if symbol.endswith(".NXT") else await super().daily_bars(symbol, first, last)

    store(settings, *stocks("A"))
    events, _ = asyncio.run(built(settings, Barless("A"), BOTH))
    found = members(events)["A.NXT"]
    assert (found.previous_close, found.close_is_base, found.average_volume_20d) == (9_000.0, True, None)


def test_an_outage_of_a_further_venue_s_bars_is_an_alert_and_costs_the_main_lines_nothing(settings: Settings) -> None:
    class Away(Venues):
        async def daily_bars(self, symbol: str, first: date, last: date) -> Sequence[Bar]:
            if symbol.endswith(".NXT"):
                raise TransportError("the host does not answer")
            return await super().daily_bars(symbol, first, last)

    store(settings, *stocks("A"), bar("A.NXT", BEFORE_PREVIOUS))
    events, _ = asyncio.run(built(settings, Away("A"), BOTH))
    assert members(events)["A"].average_volume_20d == 7.0
    further = members(events)["A.NXT"]
    assert (further.average_volume_20d, further.close_is_base) == (5.0, True)
    [alert] = [each for each in events if isinstance(each, AlertRaised) and each.identity == FURTHER_BARS]
    assert "the host does not answer" in alert.text


def test_lines_are_in_the_order_of_the_venues_and_then_of_the_stocks() -> None:
    main = [msgspec.structs.replace(MEMBER, symbol=symbol) for symbol in "ABC"]
    found = lines_at(main, {"X": frozenset("CA"), "Y": frozenset("B")}, "M")
    assert list(found) == ["A.X", "C.X", "B.Y"]
    assert [each.symbol for each in found.values()] == ["A", "C", "B"]


MEMBER = UniverseMember("kis", "kr_stocks", TODAY, 1, "A", "A", "KOSPI", 1.0, 1.0, None, None)
