"""From a page's rows to stored trades, and from stored pages back to a planner. Pure."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from operator import attrgetter

from bus.events import TAPE, TapeJudged, TapePage, TapeQuality, TapeSpan, Trade
from observer.gaps.intervals import VOLUME_NOISE
from observer.gaps.recovery import TimeAndSalesRow, past_trade, sides_of
from observer.tape.chain import Chain, Span
from observer.tape.planner import Page, Taken, TapePlanner
from observer.units import NS_PER_S


def page_of(rows: Sequence[TimeAndSalesRow]) -> Page | None:
    """The page of these rows, oldest first; None of none."""
    if not rows:
        return None
    first, last = rows[0], rows[-1]
    return Page(
        len(rows),
        max(0.0, first.cumulative_volume - first.volume),
        last.cumulative_volume,
        first.exchange_time_ns // NS_PER_S,
        last.exchange_time_ns // NS_PER_S,
    )


def breaks_of(rows: Sequence[TimeAndSalesRow]) -> list[Span]:
    """The volumes between neighbours of a page that belong to none of its trades."""
    return [
        Span(before.cumulative_volume, begin, at_s := row.exchange_time_ns // NS_PER_S, at_s)
        for before, row in pairwise(rows)
        if (begin := row.cumulative_volume - row.volume) > before.cumulative_volume + VOLUME_NOISE
    ]


def new_trades(
    rows: Sequence[TimeAndSalesRow], taken: Taken, *, provider: str, symbol: str, session_date: str, received_ns: int
) -> list[Trade]:
    """The page's new trades. Their sides are inferred from quotes and earlier prices."""
    return [
        past_trade(
            *(row, side),
            provider=provider,
            symbol=symbol,
            session_date=session_date,
            gap_id=TAPE,
            received_ns=received_ns,
        )
        for row, side in zip(rows, sides_of(rows), strict=True)
        if any(after + VOLUME_NOISE < row.cumulative_volume <= upto + VOLUME_NOISE for after, upto in taken.new)
    ]


def restore(planner: TapePlanner, pages: Iterable[TapePage]) -> None:
    """Take in what earlier processes fetched, in the order in which they did."""
    for page in sorted(pages, key=attrgetter("fetched_ns")):
        chain = planner.chain(page.symbol)
        chain.top_s = max(chain.top_s, page.asked_ns // NS_PER_S)
        for lost in page.unreachable:  # before the page, which has breaks inside it
            at = Span(lost.after_volume, lost.upto_volume, lost.from_ns // NS_PER_S, lost.to_ns // NS_PER_S)
            chain.lose(at)
        from_s, to_s = page.from_ns // NS_PER_S, page.to_ns // NS_PER_S
        chain.hold(Span(page.after_volume, page.upto_volume, from_s, to_s))
        if page.upto_volume > page.after_volume:  # else it lies above what may be fetched
            chain.trades += page.trades
            chain.volume += page.upto_volume - page.after_volume


def quality_of(chain: Chain, *, has_minute_bars: bool) -> TapeQuality:
    """What the line's stored trades are of its day."""
    if chain.limit > 0 and chain.held_volume <= VOLUME_NOISE:
        return "minute_bars" if has_minute_bars else "snapshots"
    if chain.missing_volume > 0:
        return "spans"
    return "seconds" if chain.lost_volume > 0 else "complete"


def judged(
    chain: Chain, *, provider: str, symbol: str, session_date: str, judged_ns: int, venue: str,
    fetched_trades: int, has_minute_bars: bool,
) -> TapeJudged:  # fmt: skip
    """The report on a line's day."""
    return TapeJudged(
        provider=provider,
        symbol=symbol,
        session_date=session_date,
        judged_ns=judged_ns,
        quality=quality_of(chain, has_minute_bars=has_minute_bars),
        day_volume=chain.limit,
        held_volume=max(0.0, chain.held_volume),
        fetched_trades=fetched_trades,
        unreachable=tuple(map(span_of, chain.lost)),
        unknown=tuple(span_of(span) for span, _ in chain.unknown),
        venue=venue,
    )


def span_of(span: Span) -> TapeSpan:
    """The span as it is stored."""
    return TapeSpan(span.after_volume, span.upto_volume, span.from_s * NS_PER_S, span.to_s * NS_PER_S)
