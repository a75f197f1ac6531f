"""How many of the exchange's trades are asked for to prove a volume at the stop."""

import asyncio
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from bus.events import AlertRaised, Event
from observer.alerts.process import Alerts
from observer.clock import ManualClock
from observer.errors import ProviderError
from observer.local_time import local_ns
from observer.providers.broker import Bar, PastTrade
from observer.store.reader import StoreReader
from observer.streaming.late_end import Counted, LateEnd, TradesAroundStop
from tests.day_plans import day_plan
from tests.store.migrated import make_database

DAY = date(2026, 11, 18)
PLAN = day_plan(DAY)
S = 1_000_000_000


class History:
    """Today's trades of one symbol, one share each, at these seconds from the stop. Satisfies `HistorySource`."""

    def __init__(self, *seconds: int) -> None:
        times = [PLAN.track_b_stop_ns + each * S for each in seconds]
        self.trades = [PastTrade("005930", at_ns, 1.0, 1.0, float(n), None, None) for n, at_ns in enumerate(times, 1)]
        self.calls = 0

    async def trades_between(
        self, symbol: str, from_ns: int, to_ns: int, after_volume: float = 0.0, rows_max: int | None = None
    ) -> Sequence[PastTrade]:
        assert (symbol, rows_max) == ("005930", None)
        self.calls += 1
        return [each for each in self.trades if from_ns <= each.exchange_time_ns <= to_ns]

    async def daily_bars(self, symbol: str, first: date, last: date) -> Sequence[Bar]:
        raise AssertionError(symbol)

    async def minute_bars(self, symbol: str, from_ns: int, to_ns: int) -> Sequence[Bar]:
        raise AssertionError(symbol)


def asked(history: History, known: float = 0.0) -> tuple[float | None, int]:
    source = TradesAroundStop(history, ManualClock(local_ns(DAY, 19)), PLAN)
    found = asyncio.run(source.at_stop("005930", known, history.trades[-1].cumulative_volume))
    return found, history.calls


def test_a_lively_symbol_takes_one_call() -> None:
    assert asked(History(-100, -3, -1, 0, 2, 7_200)) == (3.0, 1)


def test_for_a_quiet_symbol_more_is_asked_for_on_the_side_without_a_trade() -> None:
    assert asked(History(-9_000, -5, 7_200)) == (2.0, 4)


def test_a_trade_within_the_stops_own_second_is_after_it() -> None:
    assert asked(History(-1, 0)) == (1.0, 1)


def test_what_is_known_already_needs_no_earlier_trade() -> None:
    assert asked(History(-9_000, 5), known=1.0)[0] == 1.0


def test_a_trade_that_the_broker_does_not_give_any_more_proves_nothing() -> None:
    history = History(-3, -2, -1, 0, 1)
    del history.trades[2]
    assert asked(history)[0] is None


class OneSymbolFails:
    """The volumes at the stop: none of "000002". Satisfies `StopVolumes`."""

    async def at_stop(self, symbol: str, known: float, volume_now: float) -> float | None:
        if symbol == "000002":
            raise ProviderError("the host is closed")
        return known


def test_a_volume_at_the_stop_that_nothing_proves_is_an_alert(tmp_path: Path) -> None:
    published: list[Event] = []
    clock, url = ManualClock(local_ns(DAY, 19)), f"sqlite:///{tmp_path}/observer.db"
    make_database(url)
    alerts = Alerts(clock, "track-b", lambda *events: published.extend(events))
    with StoreReader(url) as reader:
        late = LateEnd(OneSymbolFails(), PLAN, reader, clock, alerts)
        found = asyncio.run(late.bounded({"000001": 9.0, "000002": 9.0}, {"000001": 5.0, "000002": 5.0}))
    assert found == {"000001": Counted(5.0, PLAN.track_b_stop_ns), "000002": Counted(9.0, clock.now_ns())}
    [alert] = [each for each in published if isinstance(each, AlertRaised)]
    assert alert.identity == "unproved_stop:000002"
    assert alert.text.endswith("gaps of 000002 may be too wide: the host is closed")
