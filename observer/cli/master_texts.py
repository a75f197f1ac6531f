"""How a change of a listing is told to people."""

import msgspec

from bus.events import ListingChanged
from observer.clock import kst_datetime
from observer.reference.changes import Change
from observer.reference.exchanges import NAMES


def change_line(change: Change) -> str:
    """One line, as the requirement shows it (000, 5.2)."""
    listing = change.listing
    symbol, name = f"[{listing.symbol}]", listing.english_name or listing.name
    match change.kind:
        case "new":
            return f"✅ {symbol} NEW: {name} ({NAMES.get(listing.exchange, listing.exchange)})"
        case "removed":
            return f"⏸️ {symbol} REMOVED: Marked as inactive"
        case "relisted":
            return f"✅ {symbol} RELISTED: {name} ({NAMES.get(listing.exchange, listing.exchange)})"
        case "changed":
            return f"🔄 {symbol} CHANGED: {_fields_text(change)}"


def change_text(change: ListingChanged) -> str:
    """The changed fields with what they were and what they are; of a new one since when it is listed, where told."""
    if change.change == "new" and change.listed_on:
        return f"listed on {change.listed_on}"
    if not change.previous:
        return change.changed_fields
    previous: dict[str, object] = msgspec.json.decode(change.previous)
    return ", ".join(f"{name}: {_text(old)} → {_text(getattr(change, name))}" for name, old in previous.items())


def moment_text(moment_ns: int | None) -> str:
    """In Korean time, to the minute; empty for none."""
    return "" if moment_ns is None else kst_datetime(moment_ns).strftime("%Y-%m-%d %H:%M")


def _fields_text(change: Change) -> str:
    before = change.before or change.listing
    return ", ".join(
        f"{name}: {_text(getattr(before, name))} → {_text(getattr(change.listing, name))}" for name in change.fields
    )


def _text(value: object) -> str:
    return f"{value:,.0f}" if isinstance(value, float) else str(value)
