"""A market whose broker is a list: pages of the newest trades up to a second, like any broker's time and sales."""

from bisect import bisect_right
from itertools import accumulate

from observer.collection.tape.chain import Span
from observer.collection.tape.planner import Page

PAGE = 30


class Line:
    """One line's trades: their seconds in order, and their volumes. The broker lacks those in `lacking`."""

    def __init__(self, trades, lacking=()):
        self.lacking = lacking
        self.seconds = [second for second, _ in trades]
        self.volumes = [volume for _, volume in trades]
        self.cumulative = [0, *accumulate(self.volumes)]

    @property
    def volume(self):
        return float(self.cumulative[-1])

    def volume_at(self, second):
        return float(self.cumulative[bisect_right(self.seconds, second)])

    def rows(self, second, size):
        """Numbers of the trades of the page."""
        upto = bisect_right(self.seconds, second)
        return [number for number in range(upto) if number not in self.lacking][-size:]

    def page(self, second, size=PAGE):
        rows = self.rows(second, size)
        if not rows:
            return None
        first, last = rows[0], rows[-1]
        after, upto = float(self.cumulative[first]), float(self.cumulative[last + 1])
        return Page(len(rows), after, upto, self.seconds[first], self.seconds[last])

    def breaks(self, second, size=PAGE):
        """What the page lacks between its first trade and its last one."""
        rows = self.rows(second, size)
        absent = sorted({*range(rows[0], rows[-1])} - {*rows}) if rows else ()
        return [Span(*self.cumulative[each : each + 2], self.seconds[each], self.seconds[each]) for each in absent]

    def reachable(self, size):
        """Numbers of the trades that some page has."""
        return {number for second in set(self.seconds) for number in self.rows(second, size)}

    def numbers(self, after, upto):
        """Numbers of the trades with a cumulative volume in (after, upto]."""
        return range(bisect_right(self.cumulative, after) - 1, bisect_right(self.cumulative, upto) - 1)


class Fetched:
    """The trades that pages brought, by line, in the order in which they came; and the calls."""

    def __init__(self):
        self.numbers = {}
        self.lost = {}
        self.calls = 0
        self.pages = []


def visit_all(planner, market, fetched, size=PAGE, calls_max=None, on_call=lambda: None):
    """Visits until there is nothing to ask, or so many calls were made."""
    while (visit := planner.take()) is not None:
        while (second := planner.ask(visit)) is not None:
            if calls_max is not None and fetched.calls >= calls_max:
                planner.end(visit)
                return
            fetched.calls += 1
            line, page = market[visit.symbol], market[visit.symbol].page(second, size)
            taken = planner.page(visit, second, page, line.breaks(second, size))
            for after, upto in taken.new:
                fetched.numbers.setdefault(visit.symbol, []).extend(line.numbers(after, upto))
            for span in taken.lost:
                fetched.lost.setdefault(visit.symbol, []).extend(line.numbers(span.after_volume, span.upto_volume))
            fetched.pages.append((visit.symbol, taken, page))
            on_call()
        planner.end(visit)
