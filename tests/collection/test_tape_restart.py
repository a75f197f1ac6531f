"""A new process makes its planner of the stored pages: it asks nothing again that is stored, whenever the last one
ended.
"""

from collections import Counter

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from observer.collection.tape.answers import Fetched, TapeLine, restore, stored_page
from observer.collection.tape.planner import TapePlanner
from tests.collection.test_tape_planner import DAY_END, markets, sizes, volumes

FOR_EVER = 10**9


class Process:
    """Visits lines as the tape does, and adds its pages to those of earlier processes."""

    def __init__(self, market, size, stored):
        self.market = market
        self.size = size
        self.stored = stored
        self.planner = TapePlanner(size)
        self.planner._threshold = 0.0
        restore(self.planner, stored)

    def learn(self, moments):
        """Take in the sweeps of these seconds."""
        for moment in moments:
            for symbol, line in self.market.items():
                self.planner.learn(symbol, line.volume_at(moment), moment)

    def close(self):
        self.planner.close(volumes(self.market), DAY_END)

    def work(self, calls):
        """Ask until nothing is left, or the process is killed after so many calls."""
        while (visit := self.planner.take()) is not None:
            while (second := self.planner.ask(visit)) is not None:
                if not calls:
                    return
                calls -= 1
                page = self.market[visit.symbol].page(second, self.size)
                taken = self.planner.page(visit, second, page)
                line = TapeLine("kis", visit.symbol, "2026-11-18", "KRX")
                made = stored_page(line, Fetched(second, 0, page, 0), taken, (), visit.chain.limit)
                self.stored.append(msgspec.structs.replace(made, stored=len(taken.new)))
            self.planner.end(visit)


def repeated(pages):
    """The pages that were fetched more than once."""
    counts = Counter(map(_key, pages))
    return {page: count for page, count in counts.items() if count > 1}


@given(markets, sizes, st.lists(st.integers(0, 12), max_size=6))
def test_no_stored_page_is_asked_again_in_an_evening_of_kills(market, size, kills):
    stored = []
    for calls in [*kills, FOR_EVER]:
        process = Process(market, size, stored)
        process.close()
        process.work(calls)
    assert repeated(stored) == {}


@given(markets, sizes, st.lists(st.integers(0, 12), max_size=6))
def test_processes_that_are_killed_ask_what_one_process_asks(market, size, kills):
    whole, stored = [], []
    process = Process(market, size, whole)
    process.close()
    process.work(FOR_EVER)
    for calls in [*kills, FOR_EVER]:
        process = Process(market, size, stored)
        process.close()
        process.work(calls)
    assert {(each.symbol, each.asked_ns) for each in stored} == {(each.symbol, each.asked_ns) for each in whole}


@given(markets, sizes, st.lists(st.tuples(st.integers(0, 200), st.lists(st.integers(0, 12), max_size=3)), max_size=6))
def test_kills_in_the_session_add_no_page(market, size, sweeps):
    """The pages that one process asks twice are those below a second fuller than a page: whether the second before it
    leads further is not known, if that one was the last before an earlier sweep.
    """
    sweeps.sort()
    whole, stored = [], []
    alone, killed = Process(market, size, whole), Process(market, size, stored)
    for number, (moment, kills) in enumerate(sweeps, start=1):
        alone.learn([moment])
        alone.work(FOR_EVER)
        killed.learn([moment])
        for calls in kills:
            killed.work(calls)
            killed = Process(market, size, stored)
            killed.learn([each for each, _ in sweeps[:number]])
        killed.work(FOR_EVER)
    for process in (alone, killed):
        process.close()
        process.work(FOR_EVER)
    assert Counter(map(_key, stored)) == Counter(map(_key, whole))


def _key(page):
    return page.symbol, page.asked_ns, page.after_volume, page.upto_volume
