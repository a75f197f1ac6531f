"""What the broker's time-and-sales return of another day is not taken for the gap's trades."""

import asyncio
import contextlib
import sqlite3

import msgspec
import pytest

from bus.delivery import Delivered
from bus.events import TAPE, AlertRaised, GapDetected, GapRecovered, InputQuarantined, MinuteBarRecovered, Trade
from bus.feed import POSSIBLE_LOSS, FeedPublisher
from observer.base.units import NS_PER_DAY, NS_PER_S
from observer.brokers.broker import Bar, PastTrade
from observer.brokers.quarantine import ROWS_PER_MINUTE_MAX
from observer.collection.gap_filler import GapFiller, GapWorklist
from observer.gaps.recovery import RecoverySettings, select
from observer.monitoring.alerts.process import FEED_LOSSES
from tests.collection.day_scene import PLAN, SESSION, idle_process, market
from tests.day_plans import day_plan
from tests.waiting import until_async

FROM_NS = PLAN.context_sync_ns - 60 * NS_PER_S
GAP = GapDetected(
    *("g", "kis", "000001", SESSION, FROM_NS + NS_PER_S, FROM_NS, FROM_NS + NS_PER_S),
    *(100.0, 130.0, 30.0, 1, "reconnect", "KRX"),
)
TRUE = PastTrade("000001", FROM_NS + NS_PER_S, 10_000.0, 30.0, 130.0, None, None, "KRX")
TOMORROW = msgspec.structs.replace(TRUE, exchange_time_ns=TRUE.exchange_time_ns + NS_PER_DAY, price=1.0)


class History:
    """A broker that returns rows of tomorrow. Satisfies `PastSource`."""

    def __init__(self, rows=1):
        self._rows = rows

    async def trades_between(self, symbol, from_ns, to_ns, after_volume=0.0, rows_max=None):
        return [TRUE, *[TOMORROW] * self._rows]

    async def daily_bars(self, symbol, first, last):
        raise AssertionError(symbol)

    async def minute_bars(self, symbol, from_ns, to_ns):
        raise AssertionError(symbol)

    async def past_minute_bars(self, symbol, from_ns, to_ns):
        raise AssertionError(symbol)


async def filled(running, history, gap=GAP):
    """The gap is filled from this history."""
    made, settings = running.market, RecoverySettings()
    worklist = GapWorklist(
        settings,
        reader=running.reader,
        feed_address=made.feed_address,
        clock=made.clock,
        alerts=running.alerts,
    )
    worklist.queue.take_up([gap])
    filler = GapFiller(
        *(settings, worklist),
        history=history,
        producer=running.producer,
        clock=made.clock,
        plan_of=day_plan,
    )
    working = asyncio.create_task(filler.work())
    await until_async(lambda: running.of(GapRecovered), "the gap is filled")
    working.cancel()


def test_a_recovered_row_of_another_day_goes_to_quarantine_and_the_gap_is_filled_without_it():
    with market() as made, idle_process(made) as running:
        asyncio.run(filled(running, History()))
        [closed], [trade], [item] = running.of(GapRecovered), running.of(Trade), running.of(InputQuarantined)
        assert closed.complete
        assert closed.venue == "KRX", "as the gap states it"
        assert (trade.price, trade.gap_id) == (TRUE.price, "g")
        assert (trade.venue, trade.session) == ("KRX", "regular"), "by its time: the answer states none"
        assert item.source == "kis.time_and_sales"
        assert msgspec.json.decode(item.content, type=PastTrade) == TOMORROW
        assert [alert.identity for alert in running.of(AlertRaised)] == ["misdated_recovery"]


def test_of_many_recovered_rows_of_another_day_the_first_are_kept_and_the_others_counted():
    with market() as made, idle_process(made) as running:
        asyncio.run(filled(running, History(rows=500)))
        items = running.of(InputQuarantined)
        assert sum(bool(item.content) for item in items) == ROWS_PER_MINUTE_MAX
        assert [item.reason for item in items if not item.content] == ["490 more of 000001, only counted"]


def test_a_reader_of_the_feed_that_may_lack_events_is_an_alert():
    async def scenario(made, running):
        worklist = GapWorklist(
            RecoverySettings(),
            reader=running.reader,
            feed_address=made.feed_address,
            clock=made.clock,
            alerts=running.alerts,
        )
        following = asyncio.create_task(worklist.follow_feed())
        for number in (1, 2):

            def are_queued(number=number):
                gap = msgspec.structs.replace(GAP, gap_id=f"g{number}")
                made.feed.publish([Delivered("track-b", "1" * 32, 1, [gap])])
                return len(worklist.queue) == number

            await until_async(are_queued)
            made.feed.close()
            made.feed = FeedPublisher(made.feed_address)  # of a writer that was restarted
        following.cancel()

    with market() as made, idle_process(made) as running:
        asyncio.run(scenario(made, running))
        [alert] = running.of(AlertRaised)
        assert (alert.identity, alert.severity, alert.text) == (FEED_LOSSES, "info", POSSIBLE_LOSS)


class Bounded(History):
    """A broker with as many trades as wanted, and with one minute bar."""

    def __init__(self, trades):
        super().__init__(0)
        self._trades = trades
        self.bounds = []

    async def trades_between(self, symbol, from_ns, to_ns, after_volume=0.0, rows_max=None):
        self.bounds.append((after_volume, rows_max))
        rows = [PastTrade(symbol, FROM_NS, 1.0, 1.0, 101.0 + each, None, None) for each in range(self._trades)]
        return rows if rows_max is None else rows[-rows_max:]

    async def minute_bars(self, symbol, from_ns, to_ns):
        return [Bar(symbol, from_ns, *(1.0,) * 4, 9.0, 9.0, venue="KRX")]


def long_gap(trades):
    """A gap of ten minutes and of an unknown number of trades of one share each."""
    spans = {"from_ns": FROM_NS - 600 * NS_PER_S, "before_volume": 100.0 + trades, "missing_volume": float(trades)}
    return msgspec.structs.replace(GAP, missing_trades=None, **spans)


def test_a_long_gap_of_an_unknown_number_is_filled_trade_by_trade_when_they_are_few():
    with market() as made, idle_process(made) as running:
        history = Bounded(2)
        asyncio.run(filled(running, history, long_gap(2)))
        [closed] = running.of(GapRecovered)
        assert (closed.source, closed.rows, closed.complete) == ("time_and_sales", 2, True)
        assert history.bounds == [(100.0, 300)]


def test_it_is_filled_with_minute_bars_at_once_when_they_are_too_many():
    with market() as made, idle_process(made) as running:
        asyncio.run(filled(running, Bounded(301), long_gap(301)))
        [closed] = running.of(GapRecovered)
        assert (closed.source, closed.rows, closed.complete) == ("minute_bars", 1, False)
        [bar] = running.of(MinuteBarRecovered)
        assert (bar.venue, bar.session) == ("KRX", "regular")


async def test_open_gaps_that_cannot_be_read_are_an_alert_until_they_are():
    with market() as made, idle_process(made) as running:
        feed_address, clock, alerts = made.feed_address, made.clock, running.alerts
        worklist = GapWorklist(
            RecoverySettings(), reader=running.reader, feed_address=feed_address, clock=clock, alerts=alerts
        )

        def rename(before, after):
            with contextlib.closing(sqlite3.connect(made.folder / "observer.db")) as database:
                database.execute(f"ALTER TABLE {before} RENAME TO {after}")

        rename("gaps", "gaps_away")
        checking = asyncio.create_task(worklist.check_now_and_then())
        await until_async(lambda: "open_gaps_unread" in alerts.identities)
        rename("gaps_away", "gaps")
        await until_async(lambda: "open_gaps_unread" not in alerts.identities)
        checking.cancel()


@pytest.mark.parametrize("missing_trades", [None, 1])
def test_a_trade_that_the_tape_has_of_a_gap_from_before_the_slot_is_not_stored_again(
    missing_trades,
):
    gap = msgspec.structs.replace(GAP, missing_trades=missing_trades)
    fetched = select([TRUE], gap, FROM_NS).trades[0]
    with market() as made, idle_process(made) as running:
        made.store("3" * 32, msgspec.structs.replace(fetched, gap_id=TAPE))
        asyncio.run(filled(running, History(rows=0), gap))
        stored = len(running.of(Trade))
        assert stored == (missing_trades is not None), "behind a counted trade the tape asks for none"
        [closed] = running.of(GapRecovered)
        assert (closed.rows, closed.complete) == (stored, True)
