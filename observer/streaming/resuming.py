"""How far the places of an earlier process are accounted for in the database, when another one goes on with them."""

from collections.abc import Iterable, Sequence

from bus.events import SlotAssigned, Snapshot
from observer.gaps.detector import Mark
from observer.store.reader import StoreReader


def marks_of(
    reader: StoreReader, session_date: str, assigned: Sequence[SlotAssigned], snapshots: Iterable[Snapshot]
) -> Iterable[Mark]:
    """The last trade that is stored of each symbol in its place; where there is none, what was known before it got the
    place: the hole is then told too wide, and not overlooked.

    Args:
        reader: the database.
        session_date: the day.
        assigned: the places that the earlier process had given.
        snapshots: Track A's of the day, oldest first.
    """
    since_ns = {slot.symbol: slot.assigned_ns for slot in assigned}
    before = {
        seen.symbol: Mark(seen.symbol, session_date, seen.cumulative_volume, None, seen.receive_time_ns)
        for seen in snapshots
        if seen.receive_time_ns < since_ns.get(seen.symbol, 0)
    }
    stored = reader.last_marks(session_date, list(since_ns))
    for symbol in since_ns:
        if (last := stored.get(symbol)) is not None:
            mark = Mark(symbol, session_date, last.cumulative_volume, last.cumulative_trades, last.exchange_time_ns)
            earlier = before.get(symbol, mark)  # of another time in a place, perhaps, and older than what was seen
            yield mark if mark.cumulative_volume >= earlier.cumulative_volume else earlier
        elif symbol in before:
            yield before[symbol]
