"""A day's bar from the day's own last snapshots, so that it need not be fetched the next morning. Pure.

Prices of a venue with a closing auction are those of its end: only a snapshot that was taken when the auction was over
has the whole auction in it, and only one from before the next session begins has nothing else in it. The volume is that
of the whole day where the sweeps went on to its end, as that of the broker's bars is; else that of the regular hours
(`DailyBar.sessions` says which). A venue without a closing auction has a bar only of the whole day.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from bus.events import DailyBar, Snapshot
from observer.base.lines import venue_of
from observer.base.local_time import local_datetime
from observer.brokers.broker import Bar
from observer.calendar.sessions import DaySessions, SessionName

_IN_VOLUMES: Final[Mapping[SessionName, str]] = {
    "pre": "pre",
    "opening_auction": "regular",
    "regular": "regular",
    "closing_auction": "regular",
    "after": "after",
}
"""Sessions whose trades a day's volume is known to count; no source says it of closing-price and single-price ones."""


class DayEnd(msgspec.Struct, frozen=True):
    """How quotes show a venue's finished day. In `closing_ns` (UTC ns, end exclusive; None without a closing auction)
    they show the finished regular hours, from `ends_ns` on the whole day; their volumes then hold the sessions
    `regular` and `whole`.
    """

    closing_ns: tuple[int, int] | None
    ends_ns: int
    regular: str
    whole: str


def day_ends(sessions: DaySessions) -> Mapping[str, DayEnd]:
    """How each venue's day ends, by its name; without the venues that do not trade on the day."""
    found: dict[str, DayEnd] = {}
    for venue in dict.fromkeys(each.venue for each in sessions.sessions):
        held = sessions.of(venue)
        has_auction = any(each.name == "closing_auction" for each in held)
        closing_ns = sessions.closing_window(venue) if has_auction else None
        regular = sessions_held(sessions, venue, closing_ns[0]) if closing_ns else ""
        found[venue] = DayEnd(closing_ns, held[-1].reported_until_ns, regular, sessions_held(sessions, venue))
    return found


def sessions_held(sessions: DaySessions, venue: str, until_ns: int | None = None) -> str:
    """The sessions that the venue's volume of the day holds at a moment (None: at the day's end), as in
    `DailyBar.sessions`; empty on a day on which it does not trade.
    """
    begun = (each for each in sessions.of(venue) if until_ns is None or each.opens_ns < until_ns)
    return "+".join(dict.fromkeys(_IN_VOLUMES[each.name] for each in begun if each.name in _IN_VOLUMES))


def daily_bar_of(provider: str, line: str, bar: Bar, venue: str, sessions: str) -> DailyBar:
    """The broker's daily bar as an event; `sessions` as of `sessions_held`."""
    day = local_datetime(bar.start_ns).date().isoformat()
    has_traded = bar.volume > 0  # without a trade a broker states zeros
    return DailyBar(
        provider=provider,
        symbol=line,
        session_date=day,
        open=bar.open if has_traded else None,
        high=bar.high if has_traded else None,
        low=bar.low if has_traded else None,
        close=bar.close,
        volume=bar.volume,
        value=bar.value,
        venue=venue,
        sessions=sessions,
    )


def closing_bars(
    snapshots: Iterable[Snapshot], session_date: str, ends: Mapping[str, DayEnd], main_venue: str
) -> Mapping[str, DailyBar]:
    """By line the day's bar, from its last snapshots; none for a line without a trade, or without a snapshot of the
    finished day.
    """
    closing: dict[str, Snapshot] = {}
    whole: dict[str, Snapshot] = {}
    for snapshot in snapshots:
        venue = venue_of(snapshot.symbol, main_venue)
        if snapshot.session_date != session_date or venue not in ends:
            continue
        end, at_ns = ends[venue], snapshot.receive_time_ns
        if at_ns >= end.ends_ns:
            _keep_later(whole, snapshot)
        if end.closing_ns is not None and end.closing_ns[0] <= at_ns < end.closing_ns[1]:
            _keep_later(closing, snapshot)
    return {bar.symbol: bar for bar in _bars(closing, whole, ends, main_venue)}


def _keep_later(found: dict[str, Snapshot], snapshot: Snapshot) -> None:
    before = found.get(snapshot.symbol)
    if before is None or snapshot.receive_time_ns >= before.receive_time_ns:
        found[snapshot.symbol] = snapshot


def _bars(
    closing: Mapping[str, Snapshot], whole: Mapping[str, Snapshot], ends: Mapping[str, DayEnd], main_venue: str
) -> Iterator[DailyBar]:
    for line in {**closing, **whole}:
        venue = venue_of(line, main_venue)
        end = ends[venue]
        last = whole.get(line)
        prices = last if end.closing_ns is None else closing.get(line)
        if prices is None:
            continue
        if last is None or last.cumulative_volume < prices.cumulative_volume:
            bar = _bar(prices, prices, venue, end.regular)
        else:
            bar = _bar(prices, last, venue, end.whole)
        if bar is not None:
            yield bar


def _bar(prices: Snapshot, volumes: Snapshot, venue: str, sessions: str) -> DailyBar | None:
    opened, high, low, close = prices.open, prices.high, prices.low, prices.price
    if opened is None or high is None or low is None or close is None or volumes.cumulative_volume <= 0:
        return None
    if not 0 < low <= min(opened, close) <= max(opened, close) <= high:
        return None
    return DailyBar(
        provider=prices.provider,
        symbol=prices.symbol,
        session_date=prices.session_date,
        open=opened,
        high=high,
        low=low,
        close=close,
        volume=volumes.cumulative_volume,
        value=volumes.cumulative_value,
        source="sweep",
        venue=venue,
        sessions=sessions,
    )
