"""The live state without its server: another day begins, the feed comes from another writer, the system goes."""

import asyncio
import contextlib
import itertools
from pathlib import Path

import msgspec
import pytest

from bus.delivery import Delivered
from bus.events import SlotAssigned, SweepCompleted
from bus.feed import FeedPublisher
from observer.base.settings import endpoints_of
from observer.store.writer import StoreWriter
from observer.web import live as live_module
from observer.web.live import Live
from tests.builders import trade
from tests.folders import short_folder
from tests.store.filled import SESSIONS, ten_ns
from tests.waiting import DEADLINE_S, until_async
from tests.web.running import DAY, NOON_NS, STATUS, filled, loaded, system

ASSIGNED = SlotAssigned("main:09", "000660", NOON_NS, "volume_surge", 1.0, "free_slot", None)


@pytest.fixture
def settings():
    with short_folder() as folder:
        yield filled(folder)


async def test_with_another_day_its_stored_state_is_shown(settings):
    async with system(settings) as running, Live(settings) as live:
        assert (await loaded(live)).day == DAY
        running.status = msgspec.structs.replace(STATUS, market_time_ns=ten_ns(SESSIONS[0]))
        await until_async(lambda: live.state().day == SESSIONS[0], "the other day")
        state = await loaded(live)
        assert (state.gaps.lost, state.storage.rows["snapshots"]) == (1, 3)


async def followed(running, live):
    """Wait until the page shows what the feed sends."""

    def is_followed():
        running.publish(ASSIGNED)
        return any(slot.line == ASSIGNED.symbol for slot in live.state().board.accounts[0].slots)

    await until_async(is_followed, "the feed")


async def test_after_a_restart_of_the_writer_the_stored_day_is_read_again(settings):
    sweep = SweepCompleted("kis", DAY, 2, NOON_NS, NOON_NS + 1, 3, 3, 1)

    async with system(settings) as running, Live(settings) as live:
        await loaded(live)
        await followed(running, live)
        running.feed.close()
        with contextlib.closing(StoreWriter(settings.store.url)) as writer:
            writer.open()
            writer.commit([Delivered("track-a", "8" * 32, 1, [sweep])])  # and no reader of the feed hears of it
        running.feed = FeedPublisher(endpoints_of(settings.run).feed)

        def is_read():
            running.publish(ASSIGNED)
            return len(live.state().sweeps.sweeps) == 2

        await until_async(is_read, "the sweep that the feed did not bring")


async def test_a_system_that_goes_is_critical_and_its_figures_stay_with_their_age(settings):
    async with system(settings) as running, Live(settings) as live:
        before = await loaded(live)
        running.status = None

        def gone():
            return live.state() if live.state().level == "critical" else None

        state = await until_async(gone, "the missing answer")
        assert state is not None
        assert "observer run" in state.headline
        assert state.universe.tiles == before.universe.tiles
        assert state.board.known_ms <= before.now_ms + 2_000 < state.now_ms + 2_000


async def test_a_feed_that_never_delivers_while_slots_stream_is_no_well_system(settings, monkeypatch):
    monkeypatch.setattr(live_module, "_AFTER_SWEEP_S", 0.1)
    at_once = msgspec.structs.replace(settings.track_a, interval_s=0.1)

    async with system(settings), Live(msgspec.structs.replace(settings, track_a=at_once)) as live:
        await loaded(live)
        board_ms = live.state().board.known_ms

        def said():
            state = live.state()
            return state if state.level == "warning" and state.now_ms > board_ms + 3_000 else None

        state = await until_async(said, "the silent feed")
        assert state is not None
        assert "no committed event has arrived" in state.headline
        assert state.board.known_ms <= board_ms + 2_000


async def test_figures_are_not_of_now_after_a_loss_until_the_stored_day_is_read_again(settings, monkeypatch):
    monkeypatch.setattr(live_module, "RETRY_S", 0.4)
    monkeypatch.setattr(live_module, "RELOAD_S", 0.5)

    async with system(settings) as running, Live(settings) as live:
        await loaded(live)
        await followed(running, live)
        database = Path(settings.store.url.removeprefix("sqlite:///"))
        database.rename(database.with_suffix(".away"))
        running.feed.close()
        running.feed = FeedPublisher(endpoints_of(settings.run).feed)

        def said():
            running.publish(ASSIGNED)
            state = live.state()
            is_said = "could not be read again" in state.headline
            return state if is_said and state.now_ms > state.board.known_ms + 2_500 else None

        state = await until_async(said, "the loss")
        assert state is not None
        assert state.level == "warning"
        assert state.gaps.known_ms == state.board.known_ms
        database.with_suffix(".away").rename(database)

        def is_well():
            running.publish(ASSIGNED)
            state = live.state()
            return state.level == "ok" and state.now_ms < state.board.known_ms + 2_000

        await until_async(is_well, "the stored day")


async def test_other_work_has_its_turns_while_a_backlog_of_the_feed_is_folded(settings):
    many = 10 * live_module.YIELDING_EVENTS
    backlog = [trade(number, symbol="000660", session_date=DAY, exchange_time_ns=NOON_NS) for number in range(many)]

    async with system(settings) as running, Live(settings) as live:
        await loaded(live)
        await followed(running, live)
        running.publish(*backlog)
        folded = [0]
        async with asyncio.timeout(DEADLINE_S):
            while folded[-1] < many:
                await asyncio.sleep(0)
                line = live._fold.prices.lines.get("000660")
                folded.append(0 if line is None else line.trades_in_minute(NOON_NS))
        steps = {after - before for before, after in itertools.pairwise(folded)}
        assert max(steps) <= live_module.YIELDING_EVENTS


def test_an_error_in_the_block_is_raised_as_it_is(settings):
    async def scenario():
        async with Live(settings) as live:
            assert live.state().is_live
            raise LookupError

    with pytest.raises(LookupError):
        asyncio.run(scenario())
