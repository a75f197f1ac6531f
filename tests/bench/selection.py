"""The processor time of the slot decisions: triggers, slots, context. No process, no network, no disk.

Each decision is repeated over the same market; the figure is the median of its processor time, as other programs on the
machine are no part of it.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from statistics import median

import msgspec

from bus.events import AccountSlots, Snapshot, UniverseMember
from observer.base.units import NS_PER_S
from observer.brokers.broker import DEFAULT_BROKER, broker_named
from observer.selection import context
from observer.selection.allocation import allocate, empty_slots
from observer.selection.context import OpeningPoint
from observer.selection.profile import EarlierDays, Profile
from observer.selection.selector import Selector
from observer.selection.settings import DaySettings, SelectionSettings, SlotSettings
from observer.selection.triggers import Candidate
from tests.bench.machine import Machine, this_machine
from tests.bench.path import ReportProgress

_ACCOUNTS = 10
_SLOTS_PER_ACCOUNT = broker_named(DEFAULT_BROKER).slots
_SWEEPS_BEFORE_TRACK_B = 4  # 09:00 to 09:30, every ten minutes
_SWEEPS = 40  # of a day
_LATE_NS = 12_345 * NS_PER_S  # between two of them
_SETTINGS = SelectionSettings(slots=SlotSettings(churn_max_replacements=1_000_000))
_DAY = DaySettings(selection=_SETTINGS, accounts=(AccountSlots("main", _SLOTS_PER_ACCOUNT),))


class SelectionResult(msgspec.Struct, frozen=True):
    """The result of `python -m tests.bench selection`; milliseconds of processor time, medians."""

    machine: Machine
    symbols: int
    slots: int
    rounds: int
    evaluation_ms: float
    allocation_ms: float
    context_ms: float


async def measure_selection(folder: Path, symbols: int, rounds: int, report: ReportProgress) -> SelectionResult:
    """Time each decision `rounds` times. Nothing is written to `folder`."""
    rng = Random(1)
    members = [_member(number, rng) for number in range(symbols)]
    report("triggers")
    evaluation_ms = _median_ms(_evaluation(members, rng), rounds)
    report("slots")
    allocation_ms = _median_ms(_allocation(members, rng), rounds)
    report("context")
    context_ms = _median_ms(_context(members, rng), rounds)
    slots = _ACCOUNTS * _SLOTS_PER_ACCOUNT
    return SelectionResult(this_machine(folder), symbols, slots, rounds, evaluation_ms, allocation_ms, context_ms)


def _median_ms(decide: Callable[[], object], rounds: int) -> float:
    times_ms = []
    for _ in range(rounds):
        before_ns = time.process_time_ns()
        decide()
        times_ms.append((time.process_time_ns() - before_ns) / 1e6)
    return median(times_ms)


def _evaluation(members: Sequence[UniverseMember], rng: Random) -> Callable[[], object]:
    """One evaluation of a whole sweep, also by the time of day; about one symbol in twenty surges."""
    times_s, volumes = tuple(600.0 * sweep for sweep in range(_SWEEPS)), tuple(30.0 * sweep for sweep in range(_SWEEPS))
    profiles = {member.symbol: Profile(times_s, volumes) for member in members}
    selector = Selector(members, _DAY, EarlierDays(profiles=profiles))
    for member in members:
        selector.market.update_snapshot(_snapshot(member, 450.0, _LATE_NS - 600 * NS_PER_S))
    selector.evaluate_universe(_LATE_NS - 600 * NS_PER_S)
    for member in members:
        volume = 3_500.0 if rng.random() < 0.05 else 450.0 + rng.uniform(0.0, 50.0)
        selector.market.update_snapshot(_snapshot(member, volume, _LATE_NS))
    return lambda: selector.evaluate_universe(_LATE_NS)


def _allocation(members: Sequence[UniverseMember], rng: Random) -> Callable[[], object]:
    """One allocation: every symbol is a candidate, with scores unlike those of the slots' holders."""
    capacities = {f"account_{number}": _SLOTS_PER_ACCOUNT for number in range(_ACCOUNTS)}
    before, _ = allocate(empty_slots(capacities), _candidates(members, rng), 0, _SETTINGS.slots)
    candidates = _candidates(members, rng)
    return lambda: allocate(before, candidates, 1, _SETTINGS.slots)


def _context(members: Sequence[UniverseMember], rng: Random) -> Callable[[], object]:
    """One context synchronization: rank every symbol's opening, and choose candidates for all slots."""
    opening = {
        member.symbol: [
            OpeningPoint(rng.uniform(9_000.0, 11_000.0), 100.0 * sweep) for sweep in range(_SWEEPS_BEFORE_TRACK_B)
        ]
        for member in members
    }
    by_symbol = {member.symbol: member for member in members}
    slots = _ACCOUNTS * _SLOTS_PER_ACCOUNT

    def decide() -> object:
        base = context.baseline(opening)
        ranked = context.movers(opening, base, _SETTINGS)
        return context.opening_candidates(ranked, by_symbol, base, slots, 0, _SETTINGS)

    return decide


def _member(number: int, rng: Random) -> UniverseMember:
    return UniverseMember(
        "bench",
        "kr_stocks",
        "2026-11-18",
        number + 1,
        f"{number:06d}",
        f"Company {number}",
        "KOSPI",
        rng.uniform(1e11, 1e14),
        10_000.0,
        1_000.0,
        300.0,
    )


def _snapshot(member: UniverseMember, volume: float, received_ns: int) -> Snapshot:
    price, low, high = member.previous_close, member.previous_close - 50, member.previous_close + 50
    return Snapshot(
        "bench", member.symbol, member.session_date, 1, received_ns, price, price, high, low, price, None, None, low,
        high, volume, 0.0,
    )  # fmt: skip


def _candidates(members: Sequence[UniverseMember], rng: Random) -> Sequence[Candidate]:
    return [
        Candidate(member.symbol, "volume_surge", rng.uniform(5, 22), 10**9, member.market_cap, 0.5, 3.4, 3.0, 1_000.0)
        for member in members
    ]
