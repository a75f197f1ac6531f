"""The held part of one line's day: spans of its volume of the day, in one array, without an object for a trade. Pure.

A span begins and ends at a trade, so both ends are the day's volume after some trade (or 0). A span's seconds are the
seconds of its first and last trade: volume below a span was traded in the span's first second or before.
"""

from array import array
from collections.abc import Iterator
from typing import Final, NamedTuple

from observer.gaps.intervals import VOLUME_NOISE

_WIDTH: Final = 4  # numbers of a held span: from, to, first second, last second
_LOST_WIDTH: Final = 3  # numbers of an unreachable one: from, to, second


class Span(NamedTuple):
    """The trades with a cumulative volume in (after_volume, upto_volume], and the seconds between which they lie."""

    after_volume: float
    upto_volume: float
    from_s: int
    to_s: int

    @property
    def volume(self) -> float:
        return self.upto_volume - self.after_volume


class Chain:
    """One line's day: what is held or cannot be had, up to which volume the rest may be asked, and how large its trades
    are.

    `limit` is that volume, at `limit_s`. `trades` and `volume` are of pages seen: their quotient is the size of a
    trade.
    """

    __slots__ = (
        "_asked", "_held", "_lost", "is_streamed", "limit", "limit_s", "price", "top_s", "trades",
        "volume",
    )  # fmt: skip

    def __init__(self) -> None:
        self._held = array("d")
        self._lost = array("d")
        self._asked: dict[float, tuple[int, int]] = {}  # by volume: the page's second, and the one to ask below it
        self.limit = 0.0
        self.limit_s = 0
        self.price = 0.0
        self.trades = 0
        self.volume = 0.0
        self.top_s = -1
        self.is_streamed = False

    @property
    def held(self) -> Iterator[Span]:
        """The held spans by volume, unreachable spans included."""
        held = self._held
        for at in range(0, len(held), _WIDTH):
            yield Span(held[at], held[at + 1], int(held[at + 2]), int(held[at + 3]))

    @property
    def lost(self) -> Iterator[Span]:
        """The unreachable spans in the order of their discovery, each within one second."""
        lost = self._lost
        for at in range(0, len(lost), _LOST_WIDTH):
            yield Span(lost[at], lost[at + 1], int(lost[at + 2]), int(lost[at + 2]))

    @property
    def lost_volume(self) -> float:
        """The shares in unreachable spans."""
        return sum(span.volume for span in self.lost)

    @property
    def held_volume(self) -> float:
        """The shares held up to the limit, without the unreachable ones."""
        return self.limit - self.missing_volume - self.lost_volume

    @property
    def missing_volume(self) -> float:
        """The shares up to the limit that are neither held nor unreachable."""
        missing, at_volume, held = self.limit, 0.0, self._held
        for at in range(0, len(held), _WIDTH):
            from_volume = max(held[at], at_volume)
            at_volume = min(held[at + 1], self.limit)
            missing -= max(0.0, at_volume - from_volume)
        return missing if missing > VOLUME_NOISE else 0.0

    @property
    def unknown(self) -> Iterator[tuple[Span, bool]]:
        """Yield the unknown spans up to the limit, newest first, each with a flag for the top span. The top span ends
        at the limit, in the limit's second, whatever is held above it.
        """
        held, upto, upto_s, is_top = self._held, self.limit, self.limit_s, True
        for at in range(len(held) - _WIDTH, -_WIDTH, -_WIDTH):
            if held[at] >= self.limit:
                continue
            if upto - held[at + 1] > VOLUME_NOISE:
                yield Span(held[at + 1], upto, int(held[at + 3]), upto_s), is_top
            upto, upto_s, is_top = held[at], int(held[at + 2]), False
        if upto > VOLUME_NOISE:
            yield Span(0.0, upto, 0, upto_s), is_top

    def hold(self, span: Span) -> list[tuple[float, float]]:
        """Take the span in. Returns its parts that were unknown: volumes (after, up to]."""
        if span.volume <= VOLUME_NOISE:
            return []
        merged, below, above = span, array("d"), array("d")
        parts, at_volume = list[tuple[float, float]](), span.after_volume
        for other in self.held:
            if other.upto_volume < span.after_volume - VOLUME_NOISE:
                below.extend(other)
            elif other.after_volume > span.upto_volume + VOLUME_NOISE:
                above.extend(other)
            else:
                if other.after_volume - at_volume > VOLUME_NOISE:
                    parts.append((at_volume, other.after_volume))
                at_volume = max(at_volume, other.upto_volume)
                merged = _merged(merged, other)
        if span.upto_volume - at_volume > VOLUME_NOISE:
            parts.append((at_volume, span.upto_volume))
        self._held = below + array("d", merged) + above
        return parts

    def lose(self, span: Span) -> list[tuple[float, float]]:
        """Take in a span whose trades cannot be had. Returns its parts that were unknown."""
        parts = self.hold(span)
        for after_volume, upto_volume in parts:
            self._lost.extend((after_volume, upto_volume, float(span.to_s)))
        return parts

    def copy(self) -> "Chain":
        """The same line as of now: what the chain takes in later does not change it."""
        found = Chain()
        for name in self.__slots__:
            setattr(found, name, getattr(self, name))
        found._lost, found._asked = self._lost[:], dict(self._asked)
        return found

    def put_back(self, before: "Chain") -> None:
        """Undo every change since this copy was made."""
        for name in self.__slots__:
            setattr(self, name, getattr(before, name))

    def note_asked(self, second: int, volume: float, first_s: int) -> None:
        """The page of `second`, whose first trade is of `first_s`, is here, and leads no further down than its own
        second or than `volume`: what lies below that is asked up to an earlier second.
        """
        page = second, min(second - 1, first_s)
        self._asked[volume] = min(page, self._asked.get(volume, page))
        self.join_asked()

    def join_asked(self) -> None:
        """Move the begin of these pages to the begin of the held span around it: a page may begin within streamed
        trades or within another page. Of several pages, the page of the earliest second leads furthest down.
        """
        if self._asked:
            held, asked = list(self.held), self._asked
            self._asked = {}
            for volume, page in asked.items():
                begins = (span.after_volume for span in held if span.after_volume <= volume <= span.upto_volume)
                begin = next(begins, volume)
                self._asked[begin] = min(page, self._asked.get(begin, page))

    def next_second(self, span: Span) -> int:
        """The second to ask for an unknown span: its last one, or an earlier one where the page of that is here."""
        asked_s, before_s = self._asked.get(span.upto_volume, (span.to_s + 1, span.to_s))
        return before_s if asked_s <= span.to_s else span.to_s

    def forget(self) -> None:
        """Forget the held spans, which are read anew; keep the unreachable spans."""
        lost = list(self.lost)
        self._held = array("d")
        for span in lost:
            self.hold(span)


def _merged(one: Span, other: Span) -> Span:
    """Both spans as one; the seconds are those of the lowest and the highest end."""
    low = other if other.after_volume < one.after_volume else one
    high = other if other.upto_volume > one.upto_volume else one
    return Span(low.after_volume, high.upto_volume, low.from_s, high.to_s)
