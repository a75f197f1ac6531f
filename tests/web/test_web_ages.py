"""The page's figures are as old as their records, also right after the stored day was read; its plan is renewed."""

from datetime import date
from pathlib import Path

from bus.events import SweepCompleted, TapeProgressed
from observer.base.units import NS_PER_MS, NS_PER_S
from observer.calendar.day_file import write_trading_days
from observer.calendar.trading_day import TradingDay
from observer.web import live as live_module
from observer.web.live import Live
from observer.web.state_day import DayBasis, DayFold
from tests.folders import short_folder
from tests.store.etf import etf_valued
from tests.store.filled import SESSIONS, ten_ns
from tests.waiting import until_async
from tests.web.running import DAY, NOON_NS, filled, loaded, system
from tests.web.test_web_state import member, snapshot

TEN_NS = ten_ns(DAY)
MINUTE_MS = 60_000


def ms_of(moment_ns):
    return moment_ns // NS_PER_MS


def test_figures_are_as_old_as_their_newest_records():
    built_ns = TEN_NS - 3_600 * NS_PER_S
    basis = DayBasis(session_date=DAY, begins_ns=ten_ns(DAY), built_ns=built_ns, members=[member(1, "000001")])
    fold = DayFold(basis)
    assert (fold.sweeps(8, ms_of).known_ms, fold.universe(ms_of).known_ms) == (8, ms_of(built_ns))
    events = (
        *(SweepCompleted("kis", DAY, n, TEN_NS + n, TEN_NS + n * NS_PER_S, 3, 3, 1) for n in (5, 3)),
        TapeProgressed("kis", DAY, TEN_NS + 7 * NS_PER_S, 3, 1, 1, 3, 30.0, 9.0, 1.0, 1, 2, 60.0, False),
        *(
            etf_valued(symbol=str(second), session_date=day, valued_ns=TEN_NS + second * NS_PER_S)
            for second, day in ((2, DAY), (4, DAY), (9, SESSIONS[0]))
        ),
        *(snapshot("000001", 101.0, 5.0, minute) for minute in (601, 600)),
    )
    for event in events:
        fold.apply(event)
    parts = (fold.sweeps(0, ms_of), fold.tape(ms_of), fold.premiums(ms_of), fold.universe(ms_of))
    assert [part.known_ms for part in parts] == [ms_of(TEN_NS) + 1_000 * second for second in (5, 7, 4, 60)]


async def test_a_record_later_than_the_last_status_is_of_now():
    with short_folder() as folder:
        settings = filled(folder)
        async with system(settings), Live(settings) as live:
            state = await loaded(live)
            later_ms = live._ms_of(NOON_NS + 3_600 * NS_PER_S)
            assert state.now_ms <= later_ms <= live_module.now_ms()


async def test_a_page_that_has_just_read_the_day_shows_how_old_its_figures_are():
    with short_folder() as folder:
        settings = filled(folder)
        async with system(settings), Live(settings) as live:
            state = await loaded(live)
            ages_ms = [state.now_ms - part.known_ms for part in (state.universe, state.sweeps)]
            since_ten_ms = (NOON_NS - TEN_NS) // NS_PER_MS
            assert all(since_ten_ms - MINUTE_MS < age_ms < since_ten_ms + MINUTE_MS for age_ms in ages_ms)
            assert state.now_ms - state.board.known_ms < MINUTE_MS


async def test_a_corrected_calendar_reaches_the_page(monkeypatch):
    assert live_module.PLAN_S <= 60
    monkeypatch.setattr(live_module, "PLAN_S", 0.1)

    with short_folder() as folder:
        settings = filled(folder)

        def decide(*, trades):
            write_trading_days(Path(settings.run.runtime), [TradingDay(date.fromisoformat(DAY), trades, "test")])

        async with system(settings), Live(settings) as live:
            for trades in (True, False, True):
                decide(trades=trades)
                await until_async(lambda: _has_phases(live) is trades, f"a plan where trading is {trades}")  # noqa: B023


def _has_phases(live):
    timeline = live.state().timeline
    return None if timeline.missing else bool(timeline.phases)
