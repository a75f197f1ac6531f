"""Decides which line the tape asks next, and before which second. Pure.

A page holds the newest trades up to a second. Each line of the day is a chain of volume from zero to the last evaluated
volume (`chain`); what is neither held nor unreachable is unknown. A *visit* asks a line from its newest unknown span
down to the held part, page after page. Each page is full of new trades, apart from the visit's last page and from
trades that share a second with the page before. So the line with the most missing trades comes first: during the
session only when `VISIT_PAGES` pages are expected, after the close from one trade on. No forecast by time of day is
needed: the volume up to which a line may be asked is known, and a busy day needs within 1 % as many calls as one visit
a line (`python -m tests.bench tape`).

A second can have more trades than a page: the older trades are unavailable. The page of that second and the page of the
second before leave an *unreachable* span between them, which keeps its second. A call within that second would return
these trades, but at the opening such seconds come to hundreds of lines at once, and a second admits few calls.

A line is asked only up to a volume that Track B has evaluated (`learn`). While the stream carries the line's trades, no
volume is learned (`learning`).
"""

from collections import deque
from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from typing import Final, NamedTuple

from observer.collection.tape.chain import Chain, Span
from observer.gaps.intervals import VOLUME_NOISE

VISIT_PAGES: Final = 24.0
"""Pages that a visit during the session is worth: its last page overlaps what is held by half a page on average. More
of them save few calls, and keep the trades of quiet lines from the database longer.
"""

_NEVER: Final = -1_000_000  # before any second


class Visit:
    """One visit of a line. `since_s`, if set, ends the visit at that second (pre-roll)."""

    __slots__ = ("chain", "is_top", "since_s", "span", "symbol")
    span: Span  # that was asked last, and whether it is the line's top one: `TapePlanner.ask`
    is_top: bool

    def __init__(self, symbol: str, chain: Chain, since_s: int) -> None:
        self.symbol = symbol
        self.chain = chain
        self.since_s = since_s

    @property
    def is_first(self) -> bool:
        """Whether the visit precedes all others (pre-roll)."""
        return self.since_s != _NEVER


class Page(NamedTuple):
    """One answer: the number of trades, and the volume and second before the first and after the last trade."""

    trades: int
    after_volume: float
    upto_volume: float
    from_s: int
    to_s: int


class Taken(NamedTuple):
    """What a page brought: the volumes (after, up to] of its new trades, and the spans that cannot be had."""

    new: list[tuple[float, float]]
    lost: list[Span]


def _parts(span: Span, unknown: list[tuple[float, float]]) -> list[Span]:
    """Return the formerly unknown parts of an unreachable span, each with the span's second."""
    return [Span(after, upto, span.to_s, span.to_s) for after, upto in unknown]


class TapePlanner:
    """The day's lines, and what is asked next. No clock; one per process. `page_trades` is the size of a full page."""

    def __init__(self, page_trades: int) -> None:
        self.chains: dict[str, Chain] = {}
        self._page_trades = page_trades
        self._threshold = VISIT_PAGES * page_trades
        self._heap: list[tuple[float, str]] = []
        self._first: deque[tuple[str, int]] = deque()
        self._visited: set[str] = set()
        self._learned: dict[str, tuple[float, int, float]] = {}  # of lines that are visited
        self._value = 0.0  # of the trades of all pages, for the size of those of an unseen line
        self._valued = 0

    # --- what is known ---

    def learn(self, symbol: str, volume: float, second: int, value: float = 0.0) -> None:
        """The line's volume at a second is evaluated: no trade up to it comes over the stream any more. A visit of a
        line that had a slot looked at what was streamed when it began: its limit rises at the visit's end.
        """
        chain = self.chain(symbol)
        if chain.is_streamed and symbol in self._visited:
            self._learned[symbol] = volume, second, value
            return
        if value > 0 and volume > 0:
            chain.price = value / volume
        if volume >= chain.limit and second >= chain.limit_s:
            chain.limit, chain.limit_s = volume, second
            self._offer(symbol, chain)

    def first(self, symbol: str, since_s: int) -> None:
        """Put a visit of the line before all others, back to this second."""
        self._first.append((symbol, since_s))

    def close(self, symbols: dict[str, float], second: int) -> None:
        """End the day: from now on one missing trade is worth a visit, up to these volumes and this second."""
        self._threshold = 0.0
        for symbol, volume in symbols.items():
            self.learn(symbol, max(volume, self.chain(symbol).limit), second)
        self._heap.clear()
        for symbol in self.chains:
            self.offer(symbol)

    def chain(self, symbol: str) -> Chain:
        """The line's chain; a new one without a volume."""
        chain = self.chains.get(symbol)
        if chain is None:
            chain = self.chains[symbol] = Chain()
        return chain

    def missing_trades(self, chain: Chain) -> float:
        """How many trades of the line are expected in its unknown spans."""
        missing = chain.missing_volume
        return max(1.0, missing / self._size(chain)) if missing else 0.0

    # --- what is asked ---

    def take(self) -> Visit | None:
        """The next visit; None while no line is worth one. A line has one visit at a time (`end`)."""
        for _ in range(len(self._first)):
            symbol, since_s = self._first.popleft()
            if symbol not in self._visited:
                return self._visit(symbol, since_s)
            self._first.append((symbol, since_s))  # after the visit at work
        while self._heap:
            expected, symbol = heappop(self._heap)
            trades = self.missing_trades(self.chains[symbol])
            if symbol in self._visited or trades <= self._threshold:
                continue
            if trades < -expected / 2 and self._heap and trades < -self._heap[0][0]:
                heappush(self._heap, (-trades, symbol))  # most of it is held by now
                continue
            return self._visit(symbol, _NEVER)
        return None

    def ask(self, visit: Visit) -> int | None:
        """The second up to whose end the line of the visit is asked next; None when the visit is over."""
        chain = visit.chain
        for span, is_top in chain.unknown:
            second = span.to_s
            if is_top and second <= chain.top_s:
                continue  # what is left of it was traded later than the limit's second
            if not is_top:
                second = chain.next_second(span)
            if second < visit.since_s:
                return None
            visit.span, visit.is_top = span, is_top
            return second
        return None

    def page(self, visit: Visit, second: int, page: Page | None, breaks: Sequence[Span] = ()) -> Taken:
        """Apply the answer for the second that `ask` named; None: an empty answer. `breaks` are volumes within the page
        that belong to no trade of it: the broker does not return these trades.
        """
        chain, span, lost = visit.chain, visit.span, list[Span]()
        clipped = [each._replace(upto_volume=min(each.upto_volume, chain.limit)) for each in breaks]
        missing = [part for each in clipped for part in _parts(each, chain.lose(each))]
        if visit.is_top:
            chain.top_s = second
        if page is None:
            page = Page(0, 0.0, 0.0, second, second)
        new: list[tuple[float, float]] = []
        if page.trades:
            self._measure(chain, page)
            upto_volume = min(page.upto_volume, chain.limit)
            new = chain.hold(Span(page.after_volume, upto_volume, page.from_s, page.to_s))
        if page.from_s == second or not new:
            # A page above the span leads to its first second, where there can be older trades.
            chain.note_asked(second, min(page.after_volume, span.upto_volume), page.from_s)
        if page.trades < self._page_trades and page.after_volume > VOLUME_NOISE:
            # The broker's day begins later. What is above the limit may come over the stream.
            lost.append(Span(0.0, min(page.after_volume, chain.limit), page.from_s, page.from_s))
        is_short = not visit.is_top and page.upto_volume < span.upto_volume - VOLUME_NOISE
        if is_short and (second < span.to_s or not new):
            # Its trades are later than the second asked, and the page of their own second is here. (Or that page lacks
            # what is held of it: the broker contradicts itself, and is not asked for ever.)
            at_s = min(span.to_s, second + 1)
            lost.append(Span(max(page.upto_volume, span.after_volume), span.upto_volume, at_s, at_s))
        return Taken(new, missing + [part for each in lost for part in _parts(each, chain.lose(each))])

    def end(self, visit: Visit, *, again: bool = True) -> None:
        """The visit is over; not `again`: its line waits for `offer`, or for its next evaluated volume."""
        self._visited.discard(visit.symbol)
        if visit.symbol in self._learned:
            self.learn(visit.symbol, *self._learned.pop(visit.symbol))
        if again:
            self._offer(visit.symbol, visit.chain)

    def offer(self, symbol: str) -> None:
        """Allow visits of a line that waited."""
        self._offer(symbol, self.chain(symbol))

    @property
    def has_first(self) -> bool:
        """Whether a line waits that is to be visited before all others: other visits end, and go on later."""
        return any(symbol not in self._visited for symbol, _ in self._first)

    def waits_first(self, symbol: str) -> bool:
        """Whether this line waits for the end of the visit at work on it, to be visited before all others."""
        return any(waiting == symbol for waiting, _ in self._first)

    @property
    def has_work(self) -> bool:
        """Whether a line may be worth a visit."""
        return bool(self._heap or self._first)

    # --- inside ---

    def _visit(self, symbol: str, since_s: int) -> Visit:
        self._visited.add(symbol)
        return Visit(symbol, self.chain(symbol), since_s)

    def _offer(self, symbol: str, chain: Chain) -> None:
        """Add the line to the lines to visit if the visit is worth its calls and the newest span can be asked."""
        if symbol in self._visited:
            return
        trades = self.missing_trades(chain)
        if trades > self._threshold and self._can_be_asked(chain):
            heappush(self._heap, (-trades, symbol))
            if len(self._heap) > 2 * len(self.chains):
                self._compact()

    def _compact(self) -> None:
        """Keep each line once: a line is offered again whenever more of it is missing."""
        self._heap = list({symbol: (least, symbol) for least, symbol in sorted(self._heap, reverse=True)}.values())
        heapify(self._heap)

    @staticmethod
    def _can_be_asked(chain: Chain) -> bool:
        return any(not is_top or span.to_s > chain.top_s for span, is_top in chain.unknown)

    def _measure(self, chain: Chain, page: Page) -> None:
        """Learn the size of trades from a page."""
        volume = page.upto_volume - page.after_volume
        chain.trades += page.trades
        chain.volume += volume
        self._value += volume * chain.price
        self._valued += page.trades if chain.price else 0

    def _size(self, chain: Chain) -> float:
        """Shares of an average trade: the line's mean; before the line's first page, the shares that the mean value of
        all lines' trades buys.
        """
        if chain.volume > 0:  # pages above the limit bring trades and no volume
            return chain.volume / chain.trades
        if self._valued and chain.price:
            return max(1.0, self._value / self._valued / chain.price)
        return 1.0
