"""How well the selection uses its slots: made-up days with surges, and the share of these that it streams.

Three rules see the same days: that of the settings, the same one by sweeps alone, and the written one (to the letter of
the requirement), in which the day's ratio renews a surge until the close. An oracle with the same slots streams in each
step the symbols whose surges trade most then, in average days of their symbols; its changes cost nothing, so it is an
upper bound.
"""

import asyncio
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from heapq import nlargest
from pathlib import Path
from typing import Final

import msgspec

from bus.events import AccountSlots, ChurnGuardChanged, Event, SlotAssigned, Snapshot, TradesConflated
from observer.base.units import NS_PER_S
from observer.brokers.broker import DEFAULT_BROKER, broker_named
from observer.brokers.time_and_sales import page_trades_of
from observer.selection import context
from observer.selection.context import OpeningPoint
from observer.selection.profile import EarlierDays, MeanVolume, profiles_of
from observer.selection.selector import Selector
from observer.selection.settings import DaySettings, SelectionSettings
from tests.bench.attention import Asking, Detection, DetectionDelays
from tests.bench.crowded_seconds import Overflowing, held_of, overflowing_of
from tests.bench.machine import Machine, this_machine
from tests.bench.path import ReportProgress
from tests.bench.slot_subscriptions import SlotSubscriptions
from tests.bench.slots_picture import svg
from tests.bench.surges import (
    OPENS_S,
    STEP_S,
    STEPS,
    STREAM_FIRST,
    TRADE_VOLUME,
    SymbolDay,
    market_days,
    usual_shares,
)

_SLOTS_PER_ACCOUNT: Final = broker_named(DEFAULT_BROKER).slots
_PAGE_TRADES: Final = page_trades_of(broker_named(DEFAULT_BROKER).time_and_sales)
_END: Final = STEPS - 1800 // STEP_S  # 15:00
_TRAIL: Final = 300 // STEP_S
_MINUTE: Final = 60 // STEP_S
_MINUTES_AFTER: Final = (1, 5, 10)


class SlotUse(msgspec.Struct, frozen=True, kw_only=True):
    """What one rule did with the slots of so many accounts, over all days.

    `streamed_within` are the shares of the surges that had a slot at most 1, 5 and 10 minutes after their beginning;
    `of_oracle` is the streamed part of the oracle's surge volume; `time_above_usual` the share of the slots' time on
    symbols whose last 5 minutes had more than their usual volume; `changes_by_hour` the assignments a day in each hour
    from 9 o'clock; `subscription_changes_a_day` the subscriptions and removals that follow them; `replacements_most`
    the most in 10 minutes; `guarded` the share of the time with the churn guard;
    `rises_a_day` the stored volume rises; `overflowing_a_day` the trades that no page holds, and `overflowing_held` the
    streamed part of them.
    """

    rule: str
    accounts: int
    surges: int
    streamed_within: tuple[float, ...]
    of_oracle: float
    time_above_usual: float
    changes_by_hour: tuple[float, ...]
    subscription_changes_a_day: float
    replacements_most: int
    guarded: float
    detection: DetectionDelays
    requests_a_second: float
    rises_a_day: float
    overflowing_a_day: float
    overflowing_held: float


class SlotsResult(msgspec.Struct, frozen=True):
    """The result of `python -m tests.bench slots`."""

    machine: Machine
    days: int
    symbols: int
    seed: int
    sweep_s: int
    uses: Sequence[SlotUse]


async def measure_slots(
    folder: Path,
    days: int,
    symbols: int,
    seed: int,
    sweep_s: int,
    accounts: Sequence[int],
    settings: SelectionSettings,
    requests_a_second: float,
    changes_per_minute: int,
    most_trades: float,
    picture: Path | None,
    report: ReportProgress,
) -> SlotsResult:
    """Let all rules decide on the same days, whose busiest symbol has so many trades; between sweeps, that of the
    settings makes at most so many requests a second and account. An account's subscriptions follow its slots by so many
    changes a minute. Draws the first day with the fewest accounts; writes
    nothing else.
    """
    runs = [
        run
        for count in accounts
        for run in (
            _Run("written", count, written(settings), sweep_s, 0.0, changes_per_minute),
            _Run("sweeps", count, settings, sweep_s, 0.0, changes_per_minute),
            _Run("settings", count, settings, sweep_s, requests_a_second, changes_per_minute),
        )
    ]
    earlier = _EarlierDays(sweep_s, symbols)
    for number, market in enumerate(market_days(symbols, days, seed, most_trades), 1):
        report(f"day {number} of {days}")
        profiles = earlier.known()
        overflowing = overflowing_of(market, _PAGE_TRADES, range(STREAM_FIRST, _END))
        oracle = {count: _oracle(market, count * _SLOTS_PER_ACCOUNT) for count in accounts}
        for run in runs:
            run.play(market, profiles, oracle[run.accounts], overflowing)
        earlier.add(market)
        if picture is not None and number == 1:
            drawn = [run for run in runs if run.accounts == min(accounts)]
            await asyncio.to_thread(picture.write_text, svg([(run.rule, run.held, market) for run in drawn]))
    return SlotsResult(this_machine(folder), days, symbols, seed, sweep_s, [run.use() for run in runs])


def written(settings: SelectionSettings) -> SelectionSettings:
    """The settings with the requirement's rule to the letter."""
    triggers = settings.triggers
    off = msgspec.structs.replace(triggers.recent_volume, enabled=False)
    return msgspec.structs.replace(settings, triggers=msgspec.structs.replace(triggers, recent_volume=off))


def _ns(step: int) -> int:
    return (OPENS_S + (step + 1) * STEP_S) * NS_PER_S  # the end of the step


def table(result: SlotsResult) -> Iterator[tuple[str, ...]]:
    """The result in lines, the headers first. "found", "p50 s" and "p90 s" are of the detection after a crossing."""
    title = f"{result.days} days, {result.symbols:,} symbols, a sweep each {result.sweep_s} s"
    hours = [f"{hour}h" for hour in range(9, 15)]
    shares = ("surges", "1min", "5min", "10min", "oracle", "busy")
    yield (title, "", *shares, *hours, "wire", "churn", "guard", "found", "p50 s", "p90 s", "calls/s", "rises", "lost")
    for each in result.uses:
        delays = each.detection.after_crossing_s
        yield (
            f"{each.rule}, accounts: {each.accounts}",
            f"{each.surges:,}",
            *(f"{share:.0%}" for share in (*each.streamed_within, each.of_oracle, each.time_above_usual)),
            *(f"{changes:.0f}" for changes in each.changes_by_hour),
            f"{each.subscription_changes_a_day:,.0f}",
            *(f"{each.replacements_most}", f"{each.guarded:.1%}", f"{each.detection.detected:.0%}"),
            *("-" if (delay := delays[rank]) is None else f"{delay:.0f}" for rank in ("p50", "p90")),
            *(f"{each.requests_a_second:.2f}", f"{each.rises_a_day:,.0f}", f"{1 - each.overflowing_held:.1%}"),
        )


class _EarlierDays:
    """The profiles by the sweeps of the days before."""

    def __init__(self, sweep_s: int, symbols: int) -> None:
        self._steps = range(0, STEPS, sweep_s // STEP_S)
        self._sums: dict[str, list[float]] = {}
        self._days = 0
        self._trade_volumes = {f"{rank:06d}": TRADE_VOLUME for rank in range(symbols)}

    def add(self, market: Sequence[SymbolDay]) -> None:
        self._days += 1
        for each in market:
            sums = self._sums.setdefault(each.member.symbol, [0.0] * len(self._steps))
            for number, step in enumerate(self._steps):
                sums[number] += each.volumes[step]

    def known(self) -> EarlierDays:
        rows = (
            MeanVolume(symbol, number, _ns(step) / NS_PER_S, volume / self._days, self._days)
            for symbol, sums in self._sums.items()
            for number, (step, volume) in enumerate(zip(self._steps, sums, strict=True))
        )
        profiles = profiles_of(rows, SelectionSettings().triggers.time_of_day)
        return EarlierDays(profiles=profiles, trade_volumes=self._trade_volumes)


def _surging(market: Sequence[SymbolDay], step: int) -> Iterator[tuple[float, str]]:
    """The volume of this step of each surge, in average days, and its symbol."""
    for each in market:
        if any(surge.first <= step < surge.end for surge in each.surges):
            yield each.volume(step) / (each.member.average_volume_20d or 1.0), each.member.symbol


def _oracle(market: Sequence[SymbolDay], slots: int) -> float:
    busy = [each for each in market if each.surges]
    return sum(volume for step in range(STREAM_FIRST, _END) for volume, _ in nlargest(slots, _surging(busy, step)))


class _Run:
    """One rule with so many accounts, day by day."""

    def __init__(
        self,
        rule: str,
        accounts: int,
        settings: SelectionSettings,
        sweep_s: int,
        requests_a_second: float,
        changes_per_minute: int,
    ) -> None:
        self.rule = rule
        self.accounts = accounts
        self.held: list[frozenset[str]] = []  # the streamed symbols of the last day, by step
        self._settings = settings
        self._sweep_s = sweep_s
        self._days = self._surges = 0
        self._within: Counter[int] = Counter()
        self._streamed = self._oracle = 0.0
        self._above = self._slot_steps = 0
        self._changes: Counter[int] = Counter()
        self._replaced_most = self._guarded_steps = 0
        self._detection = Detection()
        self._changes_per_minute = changes_per_minute
        self._requests_a_step = requests_a_second * accounts * STEP_S
        self._requests = self._rises = self._subscription_changes = 0
        self._overflowing = self._overflowing_held = 0

    def play(self, market: Sequence[SymbolDay], earlier: EarlierDays, oracle: float, overflowing: Overflowing) -> None:
        """Let the selection decide on one day."""
        by_symbol = {each.member.symbol: each for each in market}
        members = [each.member for each in market]
        accounts = tuple(AccountSlots(f"account {number}", _SLOTS_PER_ACCOUNT) for number in range(self.accounts))
        day = DaySettings(
            selection=self._settings,
            accounts=accounts,
            sweep_interval_s=self._sweep_s,
            page_trades=_PAGE_TRADES,
        )
        selector = Selector(members, day, earlier)
        asking = Asking(market, self._settings.triggers, earlier, self._requests_a_step)
        self.held = []
        wire = SlotSubscriptions({each.account: each.slots for each in accounts}, self._changes_per_minute)
        self._detection.begin(market)
        guard = _Guard(self._settings.slots.churn_window_seconds)
        for step in range(_END):
            is_sweep = step % (self._sweep_s // STEP_S) == 0
            if is_sweep:
                swept = _swept(market, step)
                asking.attention.update_sweep(swept)
                for snapshot in swept:
                    selector.market.update_snapshot(snapshot)
            if step < STREAM_FIRST:
                if is_sweep:
                    selector.market.update_pace()
                continue
            if step == STREAM_FIRST:
                events = self._opened(selector, market, step)
            else:
                for symbol in self.held[-1]:
                    _stream(selector, by_symbol[symbol], step)
                delivered = dict.fromkeys(self.held[-1], _ns(step))
                decided = (
                    selector.evaluate_universe(_ns(step)) if is_sweep else selector.evaluate_slots(_ns(step), delivered)
                )
                events = [*decided]
                for rise in asking.rises(step, _ns(step), selector.wanted):
                    events += selector.evaluate_rise(rise, _ns(step))
            self._detection.apply(events, step)
            guard.apply(events, _ns(step))
            hour = (OPENS_S + step * STEP_S) // 3600
            self._changes[hour] += sum(isinstance(event, SlotAssigned) for event in events)
            self.held.append(wire.follow(selector.wanted_by_account, _ns(step)))
            self._guarded_steps += guard.is_engaged
        self._replaced_most = max(self._replaced_most, guard.most)
        self._subscription_changes += wire.changes
        self._requests += asking.requests
        self._rises += asking.found
        of_slots, overflowing_all = held_of(overflowing, self.held, STREAM_FIRST)
        self._overflowing_held += of_slots
        self._overflowing += overflowing_all
        self._judge(market, oracle)

    def _opened(self, selector: Selector, market: Sequence[SymbolDay], step: int) -> Sequence[Event]:
        opening = {
            each.member.symbol: [
                OpeningPoint(each.prices[at], each.volumes[at], _ns(at))
                for at in range(0, step, self._sweep_s // STEP_S)
            ]
            for each in market
        }
        base = context.baseline(opening)
        selector.compare_with(base)
        ranked = context.movers(opening, base, self._settings)
        of_symbol = selector.market.members
        return selector.open(
            context.opening_candidates(ranked, of_symbol, base, selector.slots, _ns(step), self._settings), _ns(step)
        )

    def _judge(self, market: Sequence[SymbolDay], oracle: float) -> None:
        """Compare the day's slots with its surges."""
        self._days += 1
        self._oracle += oracle
        usual = usual_shares()
        trailing = [sum(usual[max(0, step - _TRAIL + 1) : step + 1]) for step in range(STEPS)]
        of_symbol = {each.member.symbol: each for each in market}
        steps: dict[str, list[int]] = {}
        for number, symbols in enumerate(self.held):
            step = STREAM_FIRST + number
            for symbol in symbols:
                each = of_symbol[symbol]
                steps.setdefault(symbol, []).append(step)
                before = each.volumes[step - _TRAIL]
                average = each.member.average_volume_20d or 1.0
                self._above += each.volumes[step] - before > average * trailing[step]
                self._slot_steps += 1
                if any(surge.first <= step < surge.end for surge in each.surges):
                    self._streamed += each.volume(step) / average
        for each in market:
            held = steps.get(each.member.symbol, [])
            for surge in each.surges:
                if not STREAM_FIRST <= surge.first < _END - 10 * _MINUTE:
                    continue
                self._surges += 1
                at = bisect_left(held, surge.first)
                delay = held[at] - surge.first if at < len(held) and held[at] < surge.end else STEPS
                self._within.update(minutes for minutes in _MINUTES_AFTER if delay <= minutes * _MINUTE)

    def use(self) -> SlotUse:
        """The figures of all days."""
        return SlotUse(
            rule=self.rule,
            accounts=self.accounts,
            surges=self._surges,
            streamed_within=tuple(self._within[minutes] / max(1, self._surges) for minutes in _MINUTES_AFTER),
            of_oracle=self._streamed / self._oracle if self._oracle else 0.0,
            time_above_usual=self._above / max(1, self._slot_steps),
            changes_by_hour=tuple(self._changes[hour] / max(1, self._days) for hour in range(9, 15)),
            subscription_changes_a_day=self._subscription_changes / max(1, self._days),
            replacements_most=self._replaced_most,
            guarded=self._guarded_steps / max(1, self._days * (_END - STREAM_FIRST)),
            detection=self._detection.delays(),
            requests_a_second=self._requests / max(1, self._days * (_END - STREAM_FIRST) * STEP_S),
            rises_a_day=self._rises / max(1, self._days),
            overflowing_a_day=self._overflowing / max(1, self._days),
            overflowing_held=self._overflowing_held / max(1, self._overflowing),
        )


class _Guard:
    """The replacements of the last window, and whether the churn guard is engaged."""

    def __init__(self, window_s: float) -> None:
        self._window_ns = window_s * NS_PER_S
        self._replaced_ns: deque[int] = deque()
        self.most = 0
        self.is_engaged = False

    def apply(self, events: Sequence[Event], now_ns: int) -> None:
        for event in events:
            if isinstance(event, SlotAssigned) and event.reason == "outranks":
                self._replaced_ns.append(now_ns)
            elif isinstance(event, ChurnGuardChanged):
                self.is_engaged = event.engaged
        while self._replaced_ns and self._replaced_ns[0] <= now_ns - self._window_ns:
            self._replaced_ns.popleft()
        self.most = max(self.most, len(self._replaced_ns))


def _swept(market: Sequence[SymbolDay], step: int) -> Sequence[Snapshot]:
    return [
        Snapshot(
            "bench", each.member.symbol, each.member.session_date, 1, _ns(step), each.prices[step], each.prices[step],
            each.highs[step], each.lows[step], each.prices[step], None, None, None, None, each.volumes[step], 0.0,
        )
        for each in market
    ]  # fmt: skip


def _stream(selector: Selector, each: SymbolDay, step: int) -> None:
    """The trades of one step, as one row: the selection sees no more of a single trade."""
    volume = each.volume(step)
    if volume <= 0:
        return
    trades, price, to_ns = max(1, round(volume / TRADE_VOLUME)), each.prices[step], _ns(step)
    row = TradesConflated(
        "bench", each.member.symbol, each.member.session_date, to_ns - STEP_S * NS_PER_S, to_ns, to_ns, trades,
        volume, price, each.highs[step], each.lows[step], price, each.volumes[step], None,
    )  # fmt: skip
    selector.market.update_conflated(row)
