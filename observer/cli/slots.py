"""`observer slots`: who has which place of the stream and why, from the database; pins go to the running system."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Final

import msgspec
import typer
from rich import box
from rich.console import Console
from rich.table import Table

from bus.commands import Pin, Unpin
from bus.events import SelectionAdvanced, SlotAssigned, SlotOverflowed, SlotReleased, UniverseMember
from observer.brokers import capacity_of
from observer.cli import control
from observer.cli.here import ConfigOption, market_time_ns, settings_here, today
from observer.cli.quality import parsed_day
from observer.clock import kst_datetime
from observer.selection.place_states import PlaceState, PlaceStates
from observer.selection.places import empty_slots
from observer.selection.settings import UniverseSettings
from observer.selection.universe import KOREAN_STOCKS, exclusion, judged_close
from observer.selection.wishes import WAITING, standing_wishes
from observer.store.continuity import SlotChange, day_bounds
from observer.store.reader import StoreReader
from observer.streaming.steps import beginning_of

app = typer.Typer(help="Places of the stream: who has one, since when, and why.", no_args_is_help=True)

JsonOption = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]
SymbolArgument = Annotated[str, typer.Argument(help="The symbol: 005930, say.")]
DateOption = Annotated[str | None, typer.Option("--date", help="The day; without it today.")]

_EXCHANGES: Final = ("KOSPI", "KOSDAQ")


class Explanation(msgspec.Struct, frozen=True):
    """Why a symbol has a place (`slot` says which) or has none (null), in words."""

    symbol: str
    session_date: str
    slot: str | None
    why: str


@app.command()
def show(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show who has a place now: since when, by which trigger, with what score, and whether the broker streams it; and
    who is pinned and waits for one.
    """
    settings = settings_here(config)
    session_date = today(settings)
    with StoreReader(settings.store.url) as reader:
        states = PlaceStates()
        for event in reader.place_state_events(session_date):
            states.see(event)
        waiting = waiting_wishes(reader, session_date, list(states.holders.values()))
    capacities = {account.account_id: capacity_of(settings, account) for account in settings.pool.by_priority}
    configured = (place.slot for place in empty_slots(capacities).places)
    slots = {slot: states.of(slot) for slot in (*configured, *sorted(states.holders))}
    if as_json:
        typer.echo(msgspec.json.encode(_shown_maps(slots, states.holders, waiting)).decode())
        return
    Console().print(_shown_table(slots, states.holders))
    for symbol, reason in waiting.items():
        typer.echo(f"{symbol} is pinned; {WAITING.get(reason, reason)}")


def _shown_maps(
    slots: Mapping[str, PlaceState], holders: Mapping[str, SlotAssigned], waiting: Mapping[str, str]
) -> list[dict[str, object]]:
    """Who has which place, which nobody has, and who waits for one."""
    shown: list[dict[str, object]] = []
    shown += [{**as_map(holders[slot]), "state": state} for slot, state in slots.items() if slot in holders]
    shown += [{"event": "free", "slot": slot, "state": state} for slot, state in slots.items() if slot not in holders]
    shown += [{"event": "waits", "symbol": symbol, "reason": reason} for symbol, reason in waiting.items()]
    return shown


def _shown_table(slots: Mapping[str, PlaceState], holders: Mapping[str, SlotAssigned]) -> Table:
    """The places; those that are simply available as a number."""
    available = sum(state == "available" for state in slots.values())
    title = f"{len(holders)} places taken, {available} available"
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=0)  # seven columns in eighty
    for column in ("slot", "state", "symbol", "since", "trigger"):
        table.add_column(column, no_wrap=True)
    table.add_column("score", justify="right")
    table.add_column("reason")
    for slot, state in slots.items():
        if (place := holders.get(slot)) is not None:
            since = f"{kst_datetime(place.assigned_ns):%H:%M:%S}"
            table.add_row(slot, state, place.symbol, since, place.trigger, f"{place.score:.3f}", place.reason)
        elif state != "available":
            table.add_row(slot, state)
    return table


@app.command()
def history(
    symbol: SymbolArgument, day: DateOption = None, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """List a symbol's assignments, releases and refusals of a day."""
    settings = settings_here(config)
    session_date = parsed_day(day) if day else today(settings)
    with StoreReader(settings.store.url) as reader:
        changes = reader.slot_history(session_date, symbol)
    if as_json:
        typer.echo(msgspec.json.encode([as_map(change) for change in changes]).decode())
        return
    for change in changes:
        typer.echo(told(change))
    if not changes:
        typer.echo(f"{symbol} neither had nor was refused a place on {session_date}")


@app.command()
def why(
    symbol: SymbolArgument, day: DateOption = None, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Say why a symbol has a place, or why it has none."""
    settings = settings_here(config)
    session_date = parsed_day(day) if day else today(settings)
    until_ns = min(market_time_ns(settings), day_bounds(session_date)[1])
    with StoreReader(settings.store.url) as reader:
        found = explain(reader, symbol, session_date, until_ns, settings.selection.universe)
    typer.echo(msgspec.json.encode(found).decode() if as_json else found.why)


@app.command()
def pin(symbol: SymbolArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Stream this symbol, whatever its score, today and every day until it is unpinned.

    One that is halted, or at its upper limit, gets a place as soon as it may have one.
    """
    control.show(control.ask(Pin(symbol), config), as_json=as_json)


@app.command()
def unpin(symbol: SymbolArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Take the wish for a symbol back, and the place it has by it; a trigger that holds may win it one again."""
    control.show(control.ask(Unpin(symbol), config), as_json=as_json)


def explain(
    reader: StoreReader, symbol: str, session_date: str, until_ns: int, settings: UniverseSettings
) -> Explanation:
    """From what is stored of the day: the place it holds, or what was last decided, or why it was never asked about."""
    since_ns, _ = day_bounds(session_date)
    held = [place for place in reader.open_slots(since_ns) if place.symbol == symbol and place.assigned_ns < until_ns]
    if held:
        return Explanation(symbol, session_date, held[0].slot, told(held[0]))
    changes = reader.slot_history(session_date, symbol)
    reason = waiting_wishes(reader, session_date, held).get(symbol)
    if reason is not None:
        text = f"{symbol} is pinned; {WAITING.get(reason, reason)}"
        return Explanation(symbol, session_date, None, "; ".join([*map(told, changes[-1:]), text]))
    if not changes:
        return Explanation(symbol, session_date, None, _never_decided(reader, symbol, session_date, settings))
    last = changes[-1]
    if isinstance(last, SlotAssigned):  # and it is not held: another symbol was given the place
        took = [
            change
            for change in reader.slot_history(session_date)
            if isinstance(change, SlotAssigned) and change.replaced == symbol and change.slot == last.slot
        ]
        if not took:  # a day that ended without a word, and others have that place since
            return Explanation(symbol, session_date, last.slot, told(last))
        by = f"{took[-1].symbol} with a score of {took[-1].score:.3f}: {told(took[-1])}"
        return Explanation(symbol, session_date, None, f"{told(last)}; replaced by {by}")
    return Explanation(symbol, session_date, None, told(last))


def waiting_wishes(reader: StoreReader, session_date: str, places: Sequence[SlotAssigned]) -> dict[str, str]:
    """The pinned symbols that are in none of these places, and why."""
    held = {place.symbol for place in places}
    wishes = standing_wishes(reader.place_events(session_date))
    return {symbol: reason for symbol, reason in wishes.items() if symbol not in held}


def told(change: SlotChange) -> str:
    """One decision in a line."""
    match change:
        case SlotAssigned():
            instead = f" instead of {change.replaced}" if change.replaced else ""
            return (
                f"{_time(change.assigned_ns)} {change.symbol} has {change.slot}{instead}: {change.trigger}, "
                f"score {change.score:.3f}, {change.reason}"
            )
        case SlotReleased():
            return f"{_time(change.released_ns)} {change.symbol} left {change.slot}: {change.reason}"
        case SlotOverflowed():
            return (
                f"{_time(change.overflowed_ns)} {change.symbol} refused: {change.trigger}, score {change.score:.3f} "
                f"against the lowest that can be replaced, {change.lowest_score:.3f}: {change.reason}"
            )


def as_map(change: SlotChange) -> dict[str, object]:
    """The event with its fields' names; `event` is what happened."""
    words = {SlotAssigned: "assigned", SlotReleased: "released", SlotOverflowed: "refused"}
    return {"event": words[type(change)], **msgspec.structs.asdict(change)}


def _never_decided(reader: StoreReader, symbol: str, session_date: str, settings: UniverseSettings) -> str:
    members = _members(reader, session_date)
    if any(member.symbol == symbol for member in members):
        return _member_without_decision(reader, symbol, session_date)
    for exchange in _EXCHANGES:
        listing = reader.active_listings(exchange).get(symbol)
        if listing is not None:
            built = reader.universe_built(session_date, KOREAN_STOCKS)
            closes = reader.closes(built.previous_session_date) if built else {}
            reason = exclusion(listing, judged_close(listing, closes.get(symbol)), settings)
            return f"{symbol} is not in the universe of {session_date}: {reason or 'it was listed or changed since'}"
        if symbol in reader.inactive_listings(exchange):
            return f"{symbol} is not listed on {exchange} any more"
    return f"{symbol} is not in the universe of {session_date}, and no master file has it"


def _members(reader: StoreReader, session_date: str) -> Sequence[UniverseMember]:
    """Track B's universe; where it did not begin yet, what it would be if the day began now."""
    steps = (step for step in reader.place_events(session_date) if isinstance(step, SelectionAdvanced))
    began = next((step for step in steps if step.step == "began"), None)
    if began is None:
        universe = reader.universe_in_force(session_date, KOREAN_STOCKS, day_bounds(session_date)[1])
        return universe.members if universe is not None else []
    begun = beginning_of(began)
    return reader.universe(begun.universe, KOREAN_STOCKS, begun.built_ns)


def _member_without_decision(reader: StoreReader, symbol: str, session_date: str) -> str:
    """Each trigger is followed by a place or a refusal, but for those who may hold none."""
    if not reader.slot_history(session_date):
        return f"nobody was given a place on {session_date}"
    fired = reader.triggers_fired(session_date, symbol)
    if fired:
        kind, at = fired[-1].kind, _time(fired[-1].fired_ns)
        return f"{at} {symbol} could hold no place when {kind} fired: halted, at its upper limit or delisted"
    return f"no trigger of {symbol} held on {session_date}, and others of larger market value filled what was free"


def _time(moment_ns: int) -> str:
    return f"{kst_datetime(moment_ns):%H:%M:%S}"
