"""Stale subscriptions, until the day's end, and the resulting alerts and gaps."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from bus.events import AlertRaised, GapDetected, SlotReleased
from observer.accounts.health import Health, HealthDecision
from observer.cli.decisions import verified_day
from observer.selection.sampling import SamplingSettings
from observer.store.reader import StoreReader
from observer.streaming import stream_monitor as monitor
from tests.selection.builders import state
from tests.streaming.day_scene import SESSION, SLOTS, SYMBOLS, Market, Process, market, process

SYMBOL, OTHER = SYMBOLS[0], SYMBOLS[1]


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "ARRIVES_WITHIN_S", 0.1)


def play(scene: Callable[[Market, Process], Awaitable[None]]) -> None:
    """On a day on which all slots are subscribed; in the end its decisions are made again."""

    async def played() -> None:
        with market(SamplingSettings()) as made:
            async with process(made) as running:
                await running.until(lambda: len(running.lines[0].subscribed) == SLOTS)
                await scene(made, running)
            with StoreReader(made.url) as reader:
                comparison = verified_day(reader, SESSION)
            assert comparison.is_same, comparison

    asyncio.run(played())


def bring(made: Market, running: Process, symbol: str, volume: float) -> None:
    running.day.receiver.on_trades([made.trade(symbol, volume, 10_000.0)])


def gaps(running: Process) -> list[tuple[str, float, float, str]]:
    return [(gap.symbol, gap.after_volume, gap.before_volume, gap.reason) for gap in running.of(GapDetected)]


def test_volume_that_the_broker_reports_at_the_end_and_the_stream_does_not_deliver_is_a_gap() -> None:
    async def scene(made: Market, running: Process) -> None:
        bring(made, running, SYMBOL, 10.0)
        bring(made, running, OTHER, 20.0)
        made.desk.volumes = {SYMBOL: 25.0, OTHER: 20.0}
        await running.day.end(running.selector)
        assert gaps(running) == [(SYMBOL, 10, 25, "volume_mismatch")]

    play(scene)


def test_the_end_of_the_day_waits_for_trades_in_transit() -> None:
    async def scene(made: Market, running: Process) -> None:
        bring(made, running, SYMBOL, 10.0)
        made.desk.volumes = {SYMBOL: 25.0}
        asyncio.get_running_loop().call_later(0.03, bring, made, running, SYMBOL, 15.0)
        await running.day.end(running.selector)
        assert gaps(running) == []

    play(scene)


def test_a_symbol_without_trades_is_compared_with_the_volume_requested_at_its_subscription() -> None:
    async def scene(made: Market, running: Process) -> None:
        made.desk.volumes = {SYMBOL: 125.0}
        await running.day.end(running.selector)
        assert gaps(running) == [(SYMBOL, 100, 125, "volume_mismatch")]

    async def known(made: Market, running: Process) -> None:
        await learned(made, running)
        await scene(made, running)

    play_unseen(known)


def play_unseen(scene: Callable[[Market, Process], Awaitable[None]]) -> None:
    """The same where the broker, when it is asked at the subscription, says that 100 shares were traded."""

    async def played() -> None:
        with market(SamplingSettings()) as made:
            made.desk.volumes = dict.fromkeys(SYMBOLS, 100.0)
            async with process(made) as running:
                await scene(made, running)

    asyncio.run(played())


async def learned(made: Market, running: Process) -> None:
    await running.until(lambda: set(made.desk.quoted) == running.lines[0].subscribed)
    await running.until(lambda: len(running.lines[0].subscribed) == SLOTS)


def test_an_interruption_before_the_first_trade_of_an_unswept_symbol_leaves_a_gap() -> None:
    async def scene(made: Market, running: Process) -> None:
        await learned(made, running)
        running.day.receiver.on_unsubscribed(SYMBOL, "line lost")
        running.day.receiver.on_subscribed(SYMBOL)
        made.traded[SYMBOL] = (140.0, 7)
        bring(made, running, SYMBOL, 10.0)
        assert gaps(running) == [(SYMBOL, 100, 140, "reconnect")]
        made.traded[OTHER] = (140.0, 7)
        bring(made, running, OTHER, 10.0)
        assert len(gaps(running)) == 1, "its line did not break: what is traded before the first trade is judged later"

    play_unseen(scene)


def test_a_symbol_that_a_sweep_has_seen_is_not_asked_for() -> None:
    async def scene(made: Market, running: Process) -> None:
        await learned(made, running)
        await running.until(lambda: "universe_evaluated" in running.steps, swept=made.sweep(100.0))
        made.desk.quoted.clear()
        running.day.receiver.on_unsubscribed(SYMBOL, "line lost")
        running.day.receiver.on_subscribed(SYMBOL)
        assert made.desk.quoted == []

    play_unseen(scene)


def test_a_symbol_released_with_less_volume_than_its_last_sweep_leaves_a_gap() -> None:
    async def scene(made: Market, running: Process) -> None:
        bring(made, running, SYMBOL, 10.0)
        bring(made, running, OTHER, 30.0)
        await running.until(lambda: "universe_evaluated" in running.steps, swept=made.sweep(30.0))
        made.desk.volumes, made.desk.quoted = {SYMBOL: 32.0, OTHER: 99.0}, []
        running.day.receiver.on_facts([state(SYMBOL, halted=True), state(OTHER, halted=True)])
        await running.until(lambda: gaps(running))
        assert {released.symbol for released in running.of(SlotReleased)} == {SYMBOL, OTHER}
        assert gaps(running) == [(SYMBOL, 10, 32, "volume_mismatch")]
        assert made.desk.quoted == [SYMBOL], "the other one was heard"

    play(scene)


def test_the_last_sweep_decides_when_the_broker_does_not_answer_at_the_end() -> None:
    async def scene(made: Market, running: Process) -> None:
        bring(made, running, SYMBOL, 10.0)
        await running.until(lambda: "universe_evaluated" in running.steps, swept=made.sweep(30.0))
        made.desk.is_down = True
        await running.day.end(running.selector)
        reported = [alert.text for alert in running.of(AlertRaised)]
        assert [text for text in reported if text.startswith("how much was traded of")]
        assert [text for text in reported if text == f"whether trades of {SYMBOL} are missing is not known: down"]

    play(scene)


def open_alerts(running: Process) -> list[str]:
    return [each.identity for each in running.alerts.open]


def test_a_refused_symbol_is_an_alert_while_it_has_a_slot() -> None:
    async def scene(_made: Market, running: Process) -> None:
        receiver = running.day.receiver
        receiver.on_unsubscribed(SYMBOL, "refused: limit")
        receiver.on_unsubscribed("999999", "refused: limit")
        assert open_alerts(running) == [f"not_streamed:{SYMBOL}"], "the other has no slot"
        receiver.keep_wanted([SYMBOL])
        assert open_alerts(running) == [f"not_streamed:{SYMBOL}"]
        receiver.keep_wanted([OTHER])
        assert open_alerts(running) == []
        receiver.on_subscribed(SYMBOL)

    play(scene)


def test_volumes_are_unknown_while_one_of_several_calls_fails() -> None:
    async def scene(made: Market, running: Process) -> None:
        made.desk.quotes_per_call = 1
        made.desk.failing = {SYMBOLS[0]}
        await running.day.receiver.monitor._asked(SYMBOLS[:2])
        assert open_alerts(running) == ["volumes_unknown"]
        made.desk.failing = set()
        await running.day.receiver.monitor._asked(SYMBOLS[:2])
        assert open_alerts(running) == []

    play(scene)


def test_a_stream_that_comes_and_goes_within_one_outage_is_one_alert() -> None:
    async def scene(made: Market, running: Process) -> None:
        [line] = running.lines
        made.desk.is_down = True
        states = ("lost", "refused", "connected", "lost", "connected", "lost", "refused", "connected")
        for each in states:
            line.report(each)
            await running.day.receiver.monitor._asked(SYMBOLS[:2])
            running.alerts.tick()
            assert open_alerts(running) == ["stream:main"], "and none of unknown volumes"
        alerts = [event for event in running.events if isinstance(event, AlertRaised)]
        raised = [(alert.identity, alert.severity) for alert in alerts]
        assert raised == [("stream:main", "warning"), ("stream:main", "critical")]
        await made.clock.advance(30)
        running.alerts.tick()
        assert open_alerts(running) == []

    play(scene)


def test_a_lost_stream_of_an_account_whose_calls_fail_is_no_second_alert() -> None:
    async def scene(made: Market, running: Process) -> None:
        [account] = running._brokers.accounts
        unfit = HealthDecision(fit=False, failures=2)
        account.health.write(Health(checked_ns=made.clock.now_ns(), calls=unfit))
        [line] = running.lines
        line.report("lost")
        assert open_alerts(running) == []
        account.health.write(Health(checked_ns=made.clock.now_ns()))
        line.report("refused")
        assert open_alerts(running) == ["stream:main"]

    play(scene)


def test_the_day_s_end_and_a_start_after_it_resolve_the_stream_s_alerts() -> None:
    identities = ("stream:main", f"not_streamed:{SYMBOL}", "load_relief", "overflow", "stale_subscriptions")

    async def scene(_made: Market, running: Process) -> None:
        for identity in identities:
            running.alerts.report(identity, "warning", "a text")
        await running.day.end(running.selector)
        assert open_alerts(running) == []
        for identity in identities:
            running.alerts.report(identity, "warning", "a text")
        await running.day.end_for_earlier_process()
        assert open_alerts(running) == []

    play(scene)
