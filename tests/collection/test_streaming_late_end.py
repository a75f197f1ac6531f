"""How many of the exchange's trades are asked for to prove a volume at the stop."""

import asyncio
from datetime import date

import msgspec

from bus.events import AlertRaised
from observer.base.clock import ManualClock
from observer.base.errors import ProviderError
from observer.base.local_time import local_ns
from observer.brokers.broker import PastTrade
from observer.collection.hours import slot_windows
from observer.collection.late_end import Counted, LateEnd, TradesAroundStop
from observer.monitoring.alerts.process import Alerts
from observer.store.reader import StoreReader
from tests.day_plans import RULES, day_plan
from tests.store.migrated import make_database

DAY = date(2026, 11, 18)
PLAN = day_plan(DAY)
S = 1_000_000_000


class History:
    """Today's trades of one symbol, one share each, at these seconds from the stop. Satisfies `HistorySource`."""

    def __init__(self, *seconds):
        times = [PLAN.track_b_stop_ns + each * S for each in seconds]
        self.trades = [PastTrade("005930", at_ns, 1.0, 1.0, float(n), None, None) for n, at_ns in enumerate(times, 1)]
        self.calls = 0

    async def trades_between(self, symbol, from_ns, to_ns, after_volume=0.0, rows_max=None):
        assert (symbol, rows_max) == ("005930", None)
        self.calls += 1
        return [each for each in self.trades if from_ns <= each.exchange_time_ns <= to_ns]

    async def daily_bars(self, symbol, first, last):
        raise AssertionError(symbol)

    async def minute_bars(self, symbol, from_ns, to_ns):
        raise AssertionError(symbol)


def asked(history, known=0.0):
    source = TradesAroundStop(history, ManualClock(local_ns(DAY, 19)), PLAN)
    found = asyncio.run(source.at_stop("005930", PLAN.track_b_stop_ns, known, history.trades[-1].cumulative_volume))
    return found, history.calls


def test_a_lively_symbol_takes_one_call():
    assert asked(History(-100, -3, -1, 0, 2, 7_200)) == (3.0, 1)


def test_for_a_quiet_symbol_more_is_asked_for_on_the_side_without_a_trade():
    assert asked(History(-9_000, -5, 7_200)) == (2.0, 4)


def test_a_trade_within_the_stops_own_second_is_after_it():
    assert asked(History(-1, 0)) == (1.0, 1)


def test_what_is_known_already_needs_no_earlier_trade():
    assert asked(History(-9_000, 5), known=1.0)[0] == 1.0


def test_a_trade_that_the_broker_does_not_give_any_more_proves_nothing():
    history = History(-3, -2, -1, 0, 1)
    del history.trades[2]
    assert asked(history)[0] is None


class OneSymbolFails:
    """The volumes at the stop: none of "000002". Satisfies `StopVolumes`."""

    async def at_stop(self, symbol, stop_ns, known, volume_now):
        if symbol == "000002":
            raise ProviderError("the host is closed")
        return known


def test_a_volume_at_the_stop_that_nothing_proves_is_an_alert(tmp_path):
    published = []
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


# The KRX without its auctions, the NXT without its morning: each has a pause of its own.
KRX, NXT = "005930", "005930.NXT"
MIXED = day_plan(
    DAY,
    rules=msgspec.structs.replace(
        RULES, track_a=("whole-day",), track_b=("KRX.regular", "KRX.after", "NXT.pre", "NXT.regular", "NXT.after")
    ),
)


class Stops:
    """Keeps the stops that are asked for; the volume there is what is known. Satisfies `StopVolumes`."""

    def __init__(self):
        self.asked = {}

    async def at_stop(self, symbol, stop_ns, known, volume_now):
        self.asked[symbol] = stop_ns
        return known


def stops_at(now_ns, held_ns, folder, *, plan=MIXED, released_after_ns=0):
    """The stops that are asked for of both lines, held until `held_ns` and settled now, and their volumes."""
    stops, clock, url = Stops(), ManualClock(now_ns), f"sqlite:///{folder}/observer.db"
    make_database(url)
    with StoreReader(url) as reader:
        late = LateEnd(stops, plan, reader, clock, Alerts(clock, "track-b", lambda *_: None))
        late.windows, late.stop_ns = slot_windows(plan, (KRX, NXT)), plan.track_b_stop_ns + released_after_ns
        lines = (KRX, NXT)
        held = dict.fromkeys(lines, held_ns)
        found = asyncio.run(late.bounded(dict.fromkeys(lines, 9.0), dict.fromkeys(lines, 5.0), held))
    return stops.asked, found


def test_a_day_ended_late_ends_each_lines_slot_with_the_window_in_which_it_was_held(tmp_path):
    asked, found = stops_at(local_ns(DAY, 21), local_ns(DAY, 15), tmp_path)
    assert asked == {KRX: local_ns(DAY, 15, 20), NXT: local_ns(DAY, 15, 20)}
    assert found[KRX] == Counted(5.0, local_ns(DAY, 15, 20))


def test_a_slot_whose_window_ends_with_the_planned_stop_lasts_until_the_slots_are_released(tmp_path):
    plan = day_plan(DAY, rules=msgspec.structs.replace(RULES, track_b=("KRX.regular", "NXT.regular")))
    released_ns = plan.track_b_stop_ns + 5 * S
    asked, _ = stops_at(local_ns(DAY, 21), released_ns + S, tmp_path, plan=plan, released_after_ns=5 * S)
    assert asked == {KRX: released_ns, NXT: released_ns}


def test_a_slot_of_the_last_window_ends_at_track_bs_stop(tmp_path):
    stop_ns = MIXED.track_b_stop_ns
    assert stops_at(local_ns(DAY, 21), local_ns(DAY, 17), tmp_path)[0] == {KRX: stop_ns, NXT: stop_ns}


def test_in_the_pause_of_one_venue_only_its_lines_have_ended(tmp_path):
    """At 15:50 the NXT trades in its after-market, and the KRX's has not begun."""
    now_ns = local_ns(DAY, 15, 50)
    asked, found = stops_at(now_ns, local_ns(DAY, 15), tmp_path)
    assert asked == {KRX: local_ns(DAY, 15, 20)}
    assert found[NXT] == Counted(9.0, now_ns)
