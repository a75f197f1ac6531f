"""What the core writer removes next: each row once, and again after a failure or when the database went back."""

import threading

from observer.archive.removal import Removal
from observer.base.errors import StoreError
from observer.store.removal import SealedRows
from tests.archive.stored import DAY, STREAM
from tests.waiting import DEADLINE_S


class FailingOnce:
    """A writer whose first answer is that the database is away."""

    def __init__(self):
        self.asked: list[tuple[str, int]] = []

    def remove(self, sealed, after):
        self.asked.append((sealed.kind, after))
        if len(self.asked) == 1:
            raise StoreError("the database is away")
        return None if after else 5


class Noting:
    """A writer that has nothing to remove, and keeps what it was asked for."""

    def __init__(self):
        self.asked: list[SealedRows] = []

    def remove(self, sealed, after):
        self.asked.append(sealed)
        return


def test_removed_rows_are_not_looked_for_again_but_those_of_a_new_version_or_of_a_database_that_went_back():
    remover = Noting()
    removal = Removal(remover)
    rows = [SealedRows(kind, DAY, STREAM, 1, 9, 9) for kind in ("snapshots", "trades")]

    def asked(rows):
        remover.asked.clear()
        removal.add(rows)
        while removal.step_from_thread():
            pass
        return remover.asked

    assert asked(rows) == rows
    assert asked(rows) == []
    later = [rows[0], SealedRows("trades", DAY, STREAM, 1, 12, 10)]
    assert asked(later) == later[1:]
    removal.forget()
    assert asked(later) == later


def test_what_may_not_be_removed_any_more_waits_no_longer_and_the_next_rows_begin_at_their_first():
    remover = FailingOnce()
    remover.asked.append(("an earlier failure", 0))
    removal = Removal(remover)
    first, second = (SealedRows(kind, DAY, STREAM, 1, 9, 9) for kind in ("snapshots", "trades"))
    removal.add([first, second])
    removal.step_from_thread()
    removal.add([second])
    while removal.step_from_thread():
        pass
    assert remover.asked[1:] == [("snapshots", 0), ("trades", 0), ("trades", 5)]


def test_rows_that_are_cleared_during_a_batch_leave_the_next_ones_alone():
    remover = StandingStill()
    removal = Removal(remover)
    first, second = (SealedRows(kind, DAY, STREAM, 1, 9, 9) for kind in ("snapshots", "trades"))
    removal.add([first])
    stepping = threading.Thread(target=removal.step_from_thread)
    stepping.start()
    assert remover.is_asked.wait(DEADLINE_S)
    removal.clear()
    removal.add([second])
    remover.go_on.set()
    stepping.join()
    assert not removal.step_from_thread()
    assert remover.asked == [first, second]


class StandingStill:
    """A writer whose database answers when it is let go."""

    def __init__(self):
        self.is_asked = threading.Event()
        self.go_on = threading.Event()
        self.asked: list[SealedRows] = []

    def remove(self, sealed, after):
        self.asked.append(sealed)
        self.is_asked.set()
        assert self.go_on.wait(DEADLINE_S)
        return


def test_rows_are_added_at_once_while_the_database_stands_still():
    remover = StandingStill()
    removal = Removal(remover)
    rows = [SealedRows("trades", DAY, STREAM, 1, 9, 9)]
    removal.add(rows)
    stepping = threading.Thread(target=removal.step_from_thread)
    adding = threading.Thread(target=removal.add, args=(rows,))
    stepping.start()
    try:
        assert remover.is_asked.wait(DEADLINE_S)
        adding.start()
        adding.join(DEADLINE_S)
        assert not adding.is_alive(), "the event loop would wait for the database"
    finally:
        remover.go_on.set()
        stepping.join()
    assert not removal.step_from_thread(), "rows that wait are not added twice"


def test_a_removal_that_failed_begins_again_when_its_rows_are_added_again(caplog):
    remover = FailingOnce()
    removal = Removal(remover)
    rows = [SealedRows(kind, DAY, STREAM, 1, 9, 9) for kind in ("snapshots", "trades")]
    assert removal.add(rows) == ""
    assert not removal.step_from_thread()
    assert caplog.messages == ["no rows are removed now: the database is away"]
    assert removal.add(rows) == "the database is away"
    while removal.step_from_thread():
        assert removal.add(rows) == "", "rows that wait are not added twice"
    assert remover.asked[1:] == [("snapshots", 0), ("snapshots", 5), ("trades", 0), ("trades", 5)]
