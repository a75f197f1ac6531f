"""`observer slots`: slots and the reasons of their assignment, from the database; pins go to the running system."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, get_args

import click
import msgspec

from bus.commands import Pin, Unpin
from bus.events import (
    CloseReason,
    DayBegan,
    Event,
    SelectionAdvanced,
    SlotAssigned,
    SlotExtended,
    SlotOverflowed,
    SlotReleased,
    UniverseMember,
)
from observer.base.errors import NoDataError
from observer.base.lines import stock_of
from observer.base.local_time import local_datetime
from observer.brokers.accounts.clients import capacity_of
from observer.cli import system
from observer.cli.context import (
    ConfigOption,
    DayArgument,
    DayOption,
    JsonOption,
    base_settings,
    full_settings,
    print_json,
    stored_day,
    time_on,
)
from observer.cli.lines import SymbolArgument, typed_line
from observer.cli.tables import Table, show_text
from observer.cli.tables import show as show_table
from observer.reference.universe.eligibility import KOREAN_STOCKS, exclusion, judged_close
from observer.selection.allocation import empty_slots
from observer.selection.pins import WAITING, pins_after
from observer.selection.settings import UniverseSettings
from observer.selection.slot_projection import SlotStatuses
from observer.store.reader import StoreReader
from observer.store.slots import SlotChange, day_bounds

_EXCHANGES: Final = ("KOSPI", "KOSDAQ")


class Explanation(msgspec.Struct, frozen=True):
    """Why a symbol has a slot (`slot` is its number) or has none (null), in words."""

    symbol: str
    day: str
    slot: str | None
    why: str


def show(day: DayArgument = None, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show subscriptions by slot, and pins without one. A day that is over is shown as it was at its end.

    Columns: since when, by which trigger, with what score, and whether the broker streams it. Reasons: outranks (it
    replaced a symbol of lower rank), moved (the account of its slot could not stream, so it has one of another
    account), moved_home (it is back in its own).
    """
    settings = full_settings(config)
    with StoreReader(settings.store.url) as reader:
        asked = stored_day(reader, day, settings.run)
        states, closed_ns = slots_of(reader.slot_status_events(asked.session_date))
        waiting = waiting_pins(reader, asked.session_date, list(states.holders.values()))
    capacities = {account.account_id: capacity_of(settings.clients, account) for account in settings.pool.by_priority}
    configured = (entry.slot for entry in empty_slots(capacities).slots)
    closed = states.holders if closed_ns is not None else {}
    slots = {slot: "closed" if slot in closed else states.of(slot) for slot in (*configured, *sorted(states.holders))}
    if as_json:
        shown = _shown_maps(slots, states.holders, waiting)
        print_json({"day": asked.session_date, "closed_ns": closed_ns, "slots": shown})
        return
    available = sum(state == "available" for state in slots.values())
    when = f"taken, {available} available" if closed_ns is None else f"at the close, {_time(closed_ns)}"
    table = _shown_table(slots, states.holders, f"{asked.title}: {len(states.holders)} slots {when}")
    if table.rows:
        show_table(table)
    else:
        click.echo(table.title)
    for symbol, reason in waiting.items():
        show_text(f"{symbol} is pinned; {WAITING.get(reason, reason)}")


def slots_of(events: Iterable[Event]) -> tuple[SlotStatuses, int | None]:
    """The slots after a day's events, and None; of a day whose end released them, the slots before it, and its time."""
    states = SlotStatuses()
    for event in events:
        if isinstance(event, SlotReleased) and event.reason in get_args(CloseReason):
            return states, event.released_ns
        states.apply(event)
    return states, None


def _shown_maps(
    slots: Mapping[str, str], holders: Mapping[str, SlotAssigned], waiting: Mapping[str, str]
) -> list[dict[str, object]]:
    """Used slots, available slots, and pins without a slot."""
    shown: list[dict[str, object]] = []
    shown += [{**as_map(holders[slot]), "state": state} for slot, state in slots.items() if slot in holders]
    shown += [{"event": "free", "slot": slot, "state": state} for slot, state in slots.items() if slot not in holders]
    shown += [{"event": "waits", "symbol": symbol, "reason": reason} for symbol, reason in waiting.items()]
    return shown


def _shown_table(slots: Mapping[str, str], holders: Mapping[str, SlotAssigned], title: str) -> Table:
    """The slots that are in use."""
    rows: list[Sequence[str]] = []
    for slot, state in slots.items():
        if (held := holders.get(slot)) is not None:
            since = f"{local_datetime(held.assigned_ns):%H:%M:%S}"
            rows.append((held.symbol, state, since, held.trigger, f"{held.score:.3f}", held.reason, slot))
        elif state != "available":
            rows.append(("", state, "", "", "", "", slot))
    columns = ("symbol", "state", "since", "trigger", "score", "reason", "slot")
    return Table(columns, rows, title, right=("score",), folded=("reason",))


def why(
    symbol: SymbolArgument, day: DayOption = None, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Explain why a symbol has a slot, or has none."""
    settings = full_settings(config)
    symbol = typed_line(symbol, settings.instance.market)
    with StoreReader(settings.store.url) as reader:
        asked = stored_day(reader, day, settings.run)
        until_ns = time_on(asked.session_date, settings.run)
        found = explain(reader, symbol, asked.session_date, until_ns, settings.selection.universe)
    if as_json:
        print_json(found)
    else:
        show_text(f"{asked.title}: {found.why}".replace("; ", "\n  "))


def pin(symbol: SymbolArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Stream a symbol every day, whatever its score. The pin lasts until `observer slots unpin`.

    A symbol that is halted, or at its upper limit, gets a slot as soon as it may have one.
    """
    system.show(system.ask(Pin(_line(symbol, config)), config), as_json=as_json)


def unpin(symbol: SymbolArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Remove a symbol's pin and free the slot that the pin holds. A trigger may give the symbol a slot again."""
    system.show(system.ask(Unpin(_line(symbol, config)), config), as_json=as_json)


def _line(symbol: str, config: Path | None) -> str:
    return typed_line(symbol, base_settings(config).instance.market)


def explain(
    reader: StoreReader, symbol: str, session_date: str, until_ns: int, settings: UniverseSettings
) -> Explanation:
    """Explain from the day's stored data: the held slot, or the last decision, or why there was none.

    Raises:
        NoDataError: neither the universe of the day nor a master file has the symbol.
    """
    since_ns, _ = day_bounds(session_date)
    held = [slot for slot in reader.open_slots(since_ns) if slot.symbol == symbol and slot.assigned_ns < until_ns]
    changes = reader.slot_history(session_date, symbol)
    if held:
        texts = [reported(held[0]), *map(reported, _kept(changes, held[0])[-1:])]
        return Explanation(symbol, session_date, held[0].slot, "; ".join(texts))
    reason = waiting_pins(reader, session_date, held).get(symbol)
    if reason is not None:
        text = f"{symbol} is pinned; {WAITING.get(reason, reason)}"
        return Explanation(symbol, session_date, None, "; ".join([*map(reported, changes[-1:]), text]))
    if not changes:
        return Explanation(symbol, session_date, None, _never_decided(reader, symbol, session_date, settings))
    last = changes[-1]
    if isinstance(last, SlotAssigned | SlotExtended):  # a day that ended without a release
        return Explanation(symbol, session_date, last.slot, reported(last))
    told: list[SlotChange] = []
    if isinstance(last, SlotReleased):
        given = [each for each in changes if isinstance(each, SlotAssigned) and each.slot == last.slot][-1:]
        told = [*given, *(kept for each in given for kept in _kept(changes, each)[-1:])]
    told.append(last)
    if isinstance(last, SlotReleased) and last.replaced_by is not None:
        others = reader.slot_history(session_date, last.replaced_by)
        told += [each for each in others if isinstance(each, SlotAssigned) and each.replaced == symbol][-1:]
    return Explanation(symbol, session_date, None, "; ".join(map(reported, told)))


def _kept(changes: Sequence[SlotChange], given: SlotAssigned) -> Sequence[SlotExtended]:
    return [each for each in changes if isinstance(each, SlotExtended) and each.extended_ns >= given.assigned_ns]


def waiting_pins(reader: StoreReader, session_date: str, slots: Sequence[SlotAssigned]) -> dict[str, str]:
    """The pinned symbols without a slot, and the reasons."""
    held = {slot.symbol for slot in slots}
    pins = pins_after(reader.slot_events(session_date)).standing
    return {symbol: reason or "" for symbol, reason in pins.items() if symbol not in held}


def reported(change: SlotChange) -> str:
    """One decision in a line."""
    match change:
        case SlotAssigned():
            instead = f" instead of {change.replaced}" if change.replaced else ""
            return (
                f"{_time(change.assigned_ns)} {change.symbol} has {change.slot}{instead}: {change.trigger}, "
                f"score {change.score:.3f}, {change.reason}"
            )
        case SlotExtended():
            until = "without end" if change.expires_ns is None else f"until {_time(change.expires_ns)}"
            return (
                f"{_time(change.extended_ns)} {change.symbol} keeps {change.slot} {until}: {change.trigger}, "
                f"score {change.score:.3f}"
            )
        case SlotReleased():
            by = f" by {change.replaced_by}" if change.replaced_by else ""
            return f"{_time(change.released_ns)} {change.symbol} left {change.slot}: {change.reason}{by}"
        case SlotOverflowed():
            return (
                f"{_time(change.overflowed_ns)} {change.symbol} refused: {change.trigger}, score {change.score:.3f} "
                f"against the lowest that can be replaced, {change.lowest_score:.3f}: {change.reason}"
            )


def as_map(change: SlotChange) -> dict[str, object]:
    """The event's fields by name; `event` is its kind."""
    words = {
        SlotAssigned: "assigned",
        SlotExtended: "extended",
        SlotReleased: "released",
        SlotOverflowed: "refused",
    }
    return {"event": words[type(change)], **msgspec.structs.asdict(change)}


def _never_decided(reader: StoreReader, symbol: str, session_date: str, settings: UniverseSettings) -> str:
    members = _members(reader, session_date)
    if any(member.symbol == symbol for member in members):
        return _member_without_decision(reader, symbol, session_date)
    stock = stock_of(symbol)
    for exchange in _EXCHANGES:
        listing = reader.active_listings(exchange).get(stock)
        if listing is not None:
            built = reader.universe_built(session_date, KOREAN_STOCKS)
            closes = reader.closes(built.previous_session_date) if built else {}
            reason = exclusion(listing, judged_close(listing, closes.get(stock)), settings)
            return f"{symbol} is not in the universe of {session_date}: {reason or 'it was listed or changed since'}"
        if stock in reader.inactive_listings(exchange):
            return f"{symbol} is not listed on {exchange} any more"
    raise _unknown(symbol, session_date)


def _unknown(symbol: str, session_date: str) -> NoDataError:
    return NoDataError(f"{symbol} is not in the universe of {session_date}, and no master file has it")


def _members(reader: StoreReader, session_date: str) -> Sequence[UniverseMember]:
    """Track B's universe; before Track B begins, the universe as of now."""
    steps = (event.step for event in reader.slot_events(session_date) if isinstance(event, SelectionAdvanced))
    began = next((step for step in steps if isinstance(step, DayBegan)), None)
    if began is None:
        universe = reader.universe_in_force(session_date, KOREAN_STOCKS, day_bounds(session_date)[1])
        return universe.members if universe is not None else []
    return reader.universe(began.universe, KOREAN_STOCKS, began.built_ns)


def _member_without_decision(reader: StoreReader, symbol: str, session_date: str) -> str:
    """Each trigger is followed by a slot or a refusal, except for symbols that may hold none."""
    if not reader.slot_history(session_date):
        return f"no symbol had a slot on {session_date}"
    fired = reader.triggers_fired(session_date, symbol)
    if fired:
        kind, at = fired[-1].kind, _time(fired[-1].fired_ns)
        return f"{at} {symbol} could hold no slot when {kind} fired: halted, at its upper limit or delisted"
    return f"no trigger of {symbol} held on {session_date}, and others of larger market value filled what was free"


def _time(moment_ns: int) -> str:
    return f"{local_datetime(moment_ns):%H:%M:%S}"
