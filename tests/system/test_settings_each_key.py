"""Each key of the selection's file and of the accounts' file decides something.

The keys are found in the shipped files, so a new key is covered: with another value some decision or built object
differs. Values that are merely recorded with a decision (a score, a threshold, an end) do not count. A key that has no
other valid value passes, as its other values are refused.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from datetime import date, timedelta
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import Any, Final, cast

import pytest

from bus.delivery import Delivered
from bus.events import (
    AccountSlots,
    ChurnGuardChanged,
    DailyBar,
    SlotAssigned,
    SlotExtended,
    SlotOverflowed,
    SlotReleased,
    SweepCompleted,
    TriggerEnded,
    TriggerFired,
    UniverseBuilt,
)
from observer.base.clock import ManualClock
from observer.base.errors import ConfigError, MissingKeysError
from observer.base.local_time import local_ns
from observer.brokers.accounts.clients import Brokers, ClientSettings, capacity_of
from observer.brokers.accounts.failover import StreamOutages
from observer.brokers.accounts.health import Health, HealthDecision
from observer.brokers.accounts.health_file import HealthFile
from observer.brokers.accounts.keys import read_keys
from observer.brokers.accounts.pool import parse_pool
from observer.collection import decisions
from observer.collection.earlier import began, earlier_days
from observer.reference.listings.model import ETF_GROUP, ETN_GROUP, Listing
from observer.reference.universe.builder import UniverseBuilder
from observer.reference.universe.eligibility import UniverseDay, build, history_of
from observer.reference.universe.parts import UniverseParts
from observer.reference.universe.settings import UniverseVenues
from observer.selection.overflow import OverflowWatch, rates_of
from observer.selection.pins import PinRequest
from observer.selection.profile import EarlierDays
from observer.selection.selector import Selector
from observer.selection.settings import DaySettings, SelectionSettings, parse_selection
from observer.selection.triggers import TriggersSettings
from observer.store.reader import StoreReader
from observer.store.universes import StoredUniverse
from observer.store.writer import StoreWriter
from observer.system.config import Settings
from tests.builders import trade
from tests.day_plans import day_plan
from tests.selection.builders import member, seen
from tests.store.migrated import make_database

ROOT: Final = Path(__file__).parents[2]
SELECTION: Final = json.loads((ROOT / "config/observer/symbol_selection.json").read_text())
POOL: Final = json.loads((ROOT / "config/provider_pool.json").read_text())
SECOND_NS: Final = 1_000_000_000
DAY: Final = date(2026, 11, 18)
PLAN: Final = day_plan(DAY)
OTHER_TEXTS: Final = {"05:00": "06:00", "round_robin": "priority"}

KeyPath = tuple[str | int, ...]


def leaves(document, path=()):
    """Each value of a document, with its path."""
    items: Iterator[tuple[str | int, object]] | None = None
    if isinstance(document, dict):
        items = iter(document.items())
    elif isinstance(document, list):
        items = iter(enumerate(document))
    if items is None:
        yield path, document
        return
    for name, value in items:
        yield from leaves(value, (*path, name))


def others(value):
    """Other values for a key; not all of them are valid."""
    match value:
        case bool():
            return [not value]
        case int() | float():
            found = [value * 2, value / 2, value + 1, value - 1, 1, 20, value * 10]
            return [each for each in found if each != value]
        case str():
            return [OTHER_TEXTS.get(value, f"{value}_other")]
    raise AssertionError(f"a value of another kind: {value!r}")


def changed(document, path, value):
    """The document with another value at the path."""
    copy = deepcopy(document)
    inner = copy
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return json.dumps(copy).encode()


def decides(document, path, value, observed):
    """Whether another value of the key is observed, or no other value is valid."""
    shipped, is_refused = observed(json.dumps(document).encode()), True
    for other in others(value):
        try:
            found = observed(changed(document, path, other))
        except ConfigError:
            continue
        if found != shipped:
            return True
        is_refused = False
    return is_refused


def dotted(path):
    return ".".join(map(str, path))


def each_key(document):
    found = list(leaves(document))
    return pytest.mark.parametrize(("path", "value"), found, ids=[dotted(path) for path, _ in found])


# --- symbol_selection.json -----------------------------------------------------------------------------------

SLOTS: Final = 41
PAGE_TRADES: Final = 30
CAP: Final = 1e12
MINUTE_NS: Final = 60 * SECOND_NS
BEGIN_NS: Final = PLAN.track_b_start_ns
FAST, BUSY, WILD = (tuple(f"{name}{number:02}" for number in range(SLOTS)) for name in ("F", "B", "W"))
MOVERS: Final = tuple(f"M{number:02}" for number in range(60))
WAVES: Final = tuple(f"V{number:02}" for number in range(40))
USUAL, FEW_DAYS = "USUAL", "FEW"
PROFILED: Final = (USUAL, FEW_DAYS)


def listing(symbol, **changes):
    return Listing(
        **{
            "exchange": "KOSPI",
            "symbol": symbol,
            "name": symbol,
            "isin": "",
            "group": "ST",
            "base_price": 10_000.0,
            "market_cap": CAP,
            "listed_shares": 1e8,
            "listed_on": "1975-06-11",
            "suspended": False,
            "administrative": False,
            "preferred": False,
            "spac": False,
            **changes,
        }
    )


@cache
def universe(settings):
    """The members of a universe, its warnings, and the time of its build."""
    kinds: Mapping[str, Mapping[str, object]] = {
        "suspended": {"suspended": True},
        "managed": {"administrative": True},
        "etf": {"group": ETF_GROUP},
        "etn": {"group": ETN_GROUP},
        "spac": {"spac": True},
        "preferred": {"preferred": True},
        "cheap": {"base_price": 3_000.0},
        "small": {"base_price": 5_000.0},
    }
    listings = [*(listing(f"S{number}") for number in range(120)), *(listing(name, **kinds[name]) for name in kinds)]
    bar = DailyBar("kis", "S0", "2026-11-17", 1.0, 1.0, 1.0, 10_000.0, 1.0, 1.0)
    day = UniverseDay("kis", "kr_stocks", DAY.isoformat(), "2026-11-17", 7)
    built = build(listings, {"S0": history_of([bar], "2026-11-17")}, day, settings)
    nothing = cast("Any", None)  # the time of the build needs no other part of the builder
    parts = UniverseParts(
        provider="kis", settings=settings, venues=UniverseVenues(), today=nothing, folder=nothing, clock=nothing,
        producer=nothing, history=nothing, quotes=nothing, listed=nothing, trading=nothing, reader=nothing,
        bring_listings=nothing, settled=nothing, alerts=nothing,
    )  # fmt: skip
    return [each.symbol for each in built.members], len(built.warnings), UniverseBuilder(parts).begins_ns(PLAN)


def earlier_snapshots():
    """Two symbols' sweeps of earlier days: USUAL trades less from day to day, FEW has only five days."""
    for back in range(1, 31):
        day = DAY - timedelta(days=back)
        symbols = PROFILED if back <= 5 else (USUAL,)
        for symbol in symbols:
            for number, minute in enumerate(range(0, 120, 10), start=1):
                at_ns = local_ns(day, 9) + minute * MINUTE_NS
                volume = 10.0 * (minute + 1) * (1 + back // 8)
                yield seen(symbol, volume, session_date=day.isoformat(), sweep=number, receive_time_ns=at_ns)
        yield SweepCompleted("kis", day.isoformat(), 1, 0, 1, 1, 1, 1)


class Market:
    """What a day brings, whatever the settings; the data of earlier days are read from a database."""

    def __init__(self, folder):
        self.url = f"sqlite:///{folder}/observer.db"
        make_database(self.url)
        writer = StoreWriter(self.url)
        writer.open()
        writer.commit([Delivered("test", "7" * 32, 1, list(earlier_snapshots()))])
        writer.close()
        self.earlier = cache(self._earlier)
        self.observed = cache(self._observed)
        rng = Random(7)
        self.opening = [
            seen(symbol, rng.uniform(0, 100) * (sweep + 1), price=rng.uniform(9_950, 10_050), sweep=sweep,
                 receive_time_ns=local_ns(DAY, 9) + sweep * 10 * MINUTE_NS)
            for sweep in range(3) for symbol in MOVERS
        ]  # fmt: skip
        self.members = [self._member(symbol, rng) for symbol in (*MOVERS, *PROFILED, *FAST, *BUSY, *WILD, *WAVES)]
        self.members += [member("PIN", rank=999, market_cap=1.0)]

    @staticmethod
    def _member(symbol, rng):
        return member(symbol, market_cap=CAP * rng.uniform(0.99, 1.01), average_volume_20d=10_000.0)

    def _observed(self, content):
        """The universe and the decisions by these settings; the shipped ones are asked for with each key."""
        settings = parse_selection(content, "symbol_selection.json")
        return universe(settings.universe), selected(self, settings)

    def _earlier(self, profile):
        settings = day_settings(SelectionSettings(triggers=TriggersSettings(time_of_day=profile)))
        built = UniverseBuilt("kis", "kr_stocks", DAY.isoformat(), "2026-11-17", 7, 1, 1, 0.0)
        step = began(settings, StoredUniverse(built, []), has_usual_hours=True)
        with StoreReader(self.url) as reader:
            return earlier_days(reader, DAY.isoformat(), local_ns(DAY), settings.selection, step)


def day_settings(selection):
    return DaySettings(
        selection=selection,
        accounts=(AccountSlots("main", SLOTS),),
        allocation_strategy="round_robin",
        sweep_interval_s=600.0,
        page_trades=PAGE_TRADES,
    )


def at(seconds):
    return BEGIN_NS + round(seconds * SECOND_NS)


def swept(symbol, volume, seconds, spread=0.0):
    prices = {"high": 10_000.0 + spread, "low": 10_000.0}
    return seen(symbol, volume, receive_time_ns=at(seconds), **prices)


def traded(symbols, seconds):
    """Twelve trades of each symbol within a second."""
    for symbol in symbols:
        for number in range(12):
            times = {"exchange_time_ns": at(seconds) + number * SECOND_NS // 20, "receive_time_ns": at(seconds)}
            yield trade(number, symbol=symbol, price=10_000.0, volume=1.0, cumulative_volume=number + 1.0, **times)


def waves(seconds):
    """Symbols with many multiples of the usual recent volume: first those of high numbers are busy, then the others."""
    for number, symbol in enumerate(WAVES):
        first, second = number * (seconds >= 2_700), (39 - number) * (seconds >= 2_880)
        yield swept(symbol, 1_000.0 + 60 * (first + second), seconds)


RECENT_OF_USUAL: Final = {2_520: 2_500.0, 2_700: 3_000.0, 2_880: 3_150.0}
PIN_AT_S: Final = 2_100
MOMENTS: Final = (*range(30, 900, 30), *range(900, 3_600, 60))  # most happens in the first quarter of an hour


def sweep_of(seconds):
    """What a sweep at this moment shows; nothing at moments without a sweep."""
    match seconds:
        case 390:
            return [swept("PIN", 1.0, seconds)]
        case 420:
            return [swept(symbol, 31_000.0, seconds) for symbol in BUSY[:25]]
        case 450:
            surging = [swept(symbol, 50_000.0, seconds) for symbol in BUSY[25:35]]
            wild = (swept(symbol, 1.0, seconds, spread=205.0 + 10 * number) for number, symbol in enumerate(WILD))
            return [*surging, *wild]
        case 600:
            return [swept(USUAL, 2_400.0, seconds), swept(FEW_DAYS, 1_300.0, seconds)]
        case 1_200 | 1_800 | 2_400:
            return [swept("PIN", 1.0, seconds)]
        case 2_520 | 2_700 | 2_880:
            return [*waves(seconds), swept(USUAL, RECENT_OF_USUAL[seconds], seconds)]
    return []


def trades_of(seconds):
    """The streamed trades before this moment."""
    if seconds in {390, 480}:
        yield from traded(FAST, seconds)


def without_values(event):
    match event:
        case TriggerFired():
            return event.symbol, event.kind, event.fired_ns
        case TriggerEnded():
            return event.symbol, event.kind, event.held_until_ns, event.ended_ns
        case SlotExtended():
            return event.slot, event.symbol, event.extended_ns, event.trigger
        case SlotAssigned():
            return event.slot, event.symbol, event.assigned_ns, event.trigger, event.reason, event.replaced
        case SlotReleased():
            return event.slot, event.symbol, event.released_ns, event.reason
        case SlotOverflowed():
            return event.symbol, event.overflowed_ns, event.trigger, event.reason
        case ChurnGuardChanged():
            return event.engaged, event.changed_ns
    raise AssertionError(f"no decision: {event}")


def selected(market, settings):
    """The day's decisions without the values that they record, and the alerts of its overflow."""
    earlier = market.earlier(settings.triggers.time_of_day)
    selector = Selector(market.members, day_settings(settings), earlier)
    watch = OverflowWatch(rates_of(settings.slots))
    found: list[object] = []

    def decide(seconds, events):
        found.extend(without_values(event) for event in events)
        watch.apply(events)
        found.append((seconds, watch.check(at(seconds), selector.waiting) is not None, watch.level))

    decide(0, decisions.open_slots(selector, *decisions.opening_of(market.opening), at(0)))
    for seconds in MOMENTS:
        for snapshot in sweep_of(seconds):
            selector.market.update_snapshot(snapshot)
        for each in trades_of(seconds):
            selector.market.update_trade(each)
        if seconds == PIN_AT_S:
            outcome = selector.pin("PIN", at(seconds))
            found.append(isinstance(outcome, PinRequest))
            decide(seconds, outcome.events)
        evaluate = selector.evaluate_universe if sweep_of(seconds) else selector.evaluate_slots
        decide(seconds, evaluate(at(seconds)))
    return found


@pytest.fixture(scope="module")
def market(tmp_path_factory):
    return Market(tmp_path_factory.mktemp("earlier"))


@each_key(SELECTION)
def test_each_key_of_the_selection_changes_a_decision(market, path, value):
    assert decides(SELECTION, path, value, market.observed), f"{dotted(path)} changes nothing"


# --- provider_pool.json --------------------------------------------------------------------------------------

ACCOUNTS: Final = ("main", "second")
KEYS: Final = {"KIS_APP_KEY": "a", "KIS_APP_SECRET": "b", "SECOND_KEY": "c", "SECOND_SECRET": "d"}
CHECKED_S: Final = 700  # ago: longer than a check is believed, by the shipped interval


def with_second_account(content):
    """The file with an account more, without which an order of accounts cannot show."""
    document = json.loads(content)
    second = {"account_id": "second", "app_key_variable": "SECOND_KEY", "app_secret_variable": "SECOND_SECRET"}
    document["provider_pool"]["accounts"].append({**second, "priority": 2})
    return json.dumps(document).encode()


def keys_found(pool, environment):
    try:
        return [(each.account, each.app_key, each.app_secret) for each in read_keys(pool.accounts, environment)]
    except MissingKeysError as error:
        return str(error)


def accounts_of(settings):
    """The accounts of a process: which symbols each streams, which are closed, whose health is known."""
    clock = ManualClock(at(0))
    try:
        brokers = Brokers(settings, clock, Random(1))
    except MissingKeysError as error:
        return str(error)
    outages = StreamOutages(ACCOUNTS, at(-3_600), after_s=60.0)
    outages.came_up("main", at(-3_600))
    slots = tuple(AccountSlots(each.name, each.capacity) for each in brokers.accounts)
    day = DaySettings(
        selection=SelectionSettings(), accounts=slots, allocation_strategy=brokers.strategy, sweep_interval_s=600.0
    )
    selector: Selector = Selector([member(symbol) for symbol in (*FAST, *BUSY)], day, EarlierDays())
    selector.open([], at(0))
    closed, health = brokers.closed(outages, at(0)), [brokers.health_of(each.name) for each in brokers.accounts]
    return selector.wanted_by_account, closed, health, [each.broker.name for each in brokers.accounts]


def observed_pool(folder, content):
    pool = parse_pool(with_second_account(content), "provider_pool.json")
    settings = ClientSettings(runtime=folder, pool=pool, brokers=Settings().brokers, slots_max=SLOTS)
    capacities = [capacity_of(settings, each) for each in pool.by_priority]
    return keys_found(pool, KEYS), keys_found(pool, {}), accounts_of(settings), capacities


@each_key(POOL)
def test_each_key_of_the_accounts_changes_a_decision_or_an_account(tmp_path, monkeypatch, path, value):
    for name, key in KEYS.items():
        monkeypatch.setenv(name, key)
    unfit = Health(checked_ns=at(-CHECKED_S), calls=HealthDecision(fit=False, failures=3))
    (tmp_path / "tokens").mkdir()
    HealthFile(tmp_path / "tokens", "main").write(unfit)
    assert decides(POOL, path, value, partial(observed_pool, tmp_path)), f"{dotted(path)} changes nothing"


# --- this test finds dead keys -------------------------------------------------------------------------------


def test_a_key_that_changes_nothing_fails():
    document = {"alive": 1, "dead": 1}
    observed: Callable[[bytes], object] = lambda content: json.loads(content)["alive"]  # noqa: E731
    assert decides(document, ("alive",), 1, observed)
    assert not decides(document, ("dead",), 1, observed)
