"""From a page's rows to stored trades and pages, from those back to a planner, and from that to reports. Pure."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import msgspec

from bus.events import TAPE, TapeJudged, TapePage, TapeQuality, TapeSpan, Trade
from observer.base.units import NS_PER_S
from observer.collection.tape.chain import Chain, Span
from observer.collection.tape.planner import Page, Taken, TapePlanner
from observer.gaps.intervals import VOLUME_NOISE
from observer.gaps.recovery import TimeAndSalesRow, past_trade, sides_of


def page_of(rows: Sequence[TimeAndSalesRow], unreadable: int = 0) -> Page | None:
    """Make a page of the rows, oldest first; `unreadable` counts the unreadable rows among them. None without a
    readable row.
    """
    if not rows:
        return None
    first, last = rows[0], rows[-1]
    return Page(
        len(rows) + unreadable,
        max(0.0, first.cumulative_volume - first.volume),
        last.cumulative_volume,
        first.exchange_time_ns // NS_PER_S,
        last.exchange_time_ns // NS_PER_S,
    )


def breaks_of(rows: Sequence[TimeAndSalesRow]) -> list[Span]:
    """The spans of volume between neighbouring trades of a page that belong to no trade of the page."""
    return [
        Span(before.cumulative_volume, begin, at_s := row.exchange_time_ns // NS_PER_S, at_s)
        for before, row in pairwise(rows)
        if (begin := row.cumulative_volume - row.volume) > before.cumulative_volume + VOLUME_NOISE
    ]


def unreadable_end(rows: Sequence[TimeAndSalesRow], upto_volume: float, second: int) -> Span:
    """The volumes behind the last of these rows, up to the volume below which the page of `second` was asked: its
    newest rows cannot be read.
    """
    after_volume = rows[-1].cumulative_volume if rows else 0.0
    return Span(after_volume, max(after_volume, upto_volume), second, second)


class TapeLine(msgspec.Struct, frozen=True):
    """A line's day of the tape; `gap_id` is that of all trades of the tape."""

    provider: str
    symbol: str
    session_date: str
    venue: str
    gap_id: str = TAPE


def new_trades(rows: Sequence[TimeAndSalesRow], taken: Taken, line: TapeLine, received_ns: int) -> list[Trade]:
    """The page's new trades. Their sides are inferred from quotes and earlier prices."""
    return [
        past_trade(row, side, line, received_ns)
        for row, side in zip(rows, sides_of(rows), strict=True)
        if any(after + VOLUME_NOISE < row.cumulative_volume <= upto + VOLUME_NOISE for after, upto in taken.new)
    ]


class Fetched(msgspec.Struct, frozen=True):
    """The answer to a call for `second`: its page, if any, and the number of its unreadable rows."""

    second: int
    fetched_ns: int
    page: Page | None
    unreadable: int


def stored_page(line: TapeLine, fetched: Fetched, taken: Taken, trades: Sequence[Trade], limit: float) -> TapePage:
    """The page as it is stored beside its new trades; of a line that is asked up to the volume `limit`."""
    second = fetched.second
    held = Page(0, 0.0, 0.0, second, second) if fetched.page is None else fetched.page
    return TapePage(
        provider=line.provider,
        symbol=line.symbol,
        session_date=line.session_date,
        fetched_ns=fetched.fetched_ns,
        asked_ns=second * NS_PER_S,
        trades=max(0, held.trades - fetched.unreadable),
        stored=len(trades),
        volume=sum(each.volume for each in trades),
        after_volume=held.after_volume,
        upto_volume=min(held.upto_volume, limit),
        from_ns=held.from_s * NS_PER_S,
        to_ns=held.to_s * NS_PER_S,
        unreachable=tuple(map(span_of, taken.lost)),
        venue=line.venue,
    )


def restore(planner: TapePlanner, pages: Iterable[TapePage]) -> None:
    """Apply the pages of earlier processes to the planner, each line's pages in the order of their arrival."""
    for page in pages:
        chain, second = planner.chain(page.symbol), page.asked_ns // NS_PER_S
        chain.top_s = max(chain.top_s, second)
        for lost in page.unreachable:  # before the page, which has breaks inside it
            at = Span(lost.after_volume, lost.upto_volume, lost.from_ns // NS_PER_S, lost.to_ns // NS_PER_S)
            chain.lose(at)
        from_s, to_s = page.from_ns // NS_PER_S, page.to_ns // NS_PER_S
        chain.hold(Span(page.after_volume, page.upto_volume, from_s, to_s))
        if from_s == second or not page.stored:
            chain.note_asked(second, min(page.after_volume, page.upto_volume), from_s)
        if page.upto_volume > page.after_volume:  # else it lies above what may be fetched
            chain.trades += page.trades
            chain.volume += page.upto_volume - page.after_volume


def quality_of(chain: Chain, *, has_minute_bars: bool, is_swept: bool) -> TapeQuality:
    """What the line's stored trades are of its day; not `is_swept`: it may have traded above the limit."""
    if chain.limit > 0 and chain.held_volume <= VOLUME_NOISE:
        return "minute_bars" if has_minute_bars else "snapshots"
    if chain.missing_volume > 0 or not is_swept:
        return "spans"
    return "seconds" if chain.lost_volume > 0 else "complete"


def judged(
    line: TapeLine, chain: Chain, judged_ns: int, fetched_trades: int, *, has_minute_bars: bool, is_swept: bool
) -> TapeJudged:
    """Make the report on a line's day."""
    return TapeJudged(
        provider=line.provider,
        symbol=line.symbol,
        session_date=line.session_date,
        judged_ns=judged_ns,
        quality=quality_of(chain, has_minute_bars=has_minute_bars, is_swept=is_swept),
        day_volume=chain.limit,
        held_volume=max(0.0, chain.held_volume),
        fetched_trades=fetched_trades,
        unreachable=tuple(map(span_of, chain.lost)),
        unknown=tuple(span_of(span) for span, _ in chain.unknown),
        venue=line.venue,
    )


def span_of(span: Span) -> TapeSpan:
    return TapeSpan(span.after_volume, span.upto_volume, span.from_s * NS_PER_S, span.to_s * NS_PER_S)
