"""Several accounts' streams as one: each symbol's account, and the listener's calls when a symbol moves."""

import asyncio
from collections.abc import Sequence

import pytest

from bus.events import ConnectionChanged, InputQuarantined
from observer.brokers.connection_end import CONNECTION_LOST, REMOVED_BESIDE, UNREAD_BESIDE
from observer.brokers.joint_stream import JointStream

BESIDE = {UNREAD_BESIDE: "unread ", REMOVED_BESIDE: "moved "}


class Line:
    """An account's stream, played by hand: the broker's acknowledgements are `acknowledge` and `lose`."""

    capacity = 41

    def __init__(self, listener):
        self.listener = listener
        self.wanted: Sequence[str] = ()
        self._subscribed: set[str] = set()
        self.closed = False

    def want(self, symbols, watched=()):
        self.wanted = symbols

    @property
    def subscribed(self):
        return frozenset(self._subscribed)

    def acknowledge(self, symbol):
        self._subscribed.add(symbol)
        self.listener.on_subscribed(symbol)

    def remove(self, symbol):
        self._subscribed.discard(symbol)
        self.listener.on_unsubscribed(symbol, "removed")

    def lose(self, symbol):
        self._subscribed.discard(symbol)
        self.listener.on_unsubscribed(symbol, CONNECTION_LOST)

    async def run(self):
        try:
            await asyncio.Event().wait()
        finally:
            self.closed = True


class Ear:
    """Writes down what it hears of symbols and connections."""

    def __init__(self):
        self.received: list[str] = []

    def on_requested(self, symbol, *, removal=False):
        self.received.append(f"?{symbol}")

    def on_subscribed(self, symbol):
        self.received.append(f"+{symbol}")

    def on_unsubscribed(self, symbol, reason, since_ns=None):
        self.received.append(f"{BESIDE.get(reason, '-')}{symbol}")

    def on_connection(self, change):
        self.received.append(f"{change.account} {change.state}")

    def on_trades(self, trades): ...

    def on_facts(self, facts): ...

    def on_quarantine(self, item, unread):
        self.received.append(f"unread {sorted(unread or ())}")


class Scene:
    """Two accounts and their listener."""

    def __init__(self):
        self.ear = Ear()
        self.lines: dict[str, Line] = {}
        self.stream = JointStream({name: self._opened(name) for name in ("main", "second")}, self.ear)

    def _opened(self, name):
        def opened(listener):
            self.lines[name] = Line(listener)
            return self.lines[name]

        return opened


@pytest.fixture
def scene():
    return Scene()


def test_each_account_gets_its_own_symbols_and_an_account_without_symbols_gets_an_empty_set(scene):
    scene.stream.want({"main": ("A", "B"), "second": ("C",)})
    scene.stream.want({"second": ("A",)})
    assert (scene.lines["main"].wanted, scene.lines["second"].wanted) == ((), ("A",))


def test_the_subscribed_symbols_are_the_union_over_all_accounts(scene):
    scene.lines["main"].acknowledge("A")
    scene.lines["second"].acknowledge("B")
    assert scene.stream.subscribed == {"A", "B"}


def test_a_symbol_that_two_accounts_carry_for_a_moment_is_reported_subscribed_once_and_its_move_too(
    scene,
):
    scene.lines["main"].acknowledge("A")
    scene.lines["second"].acknowledge("A")
    scene.lines["main"].remove("A")
    scene.lines["second"].remove("A")
    assert scene.ear.received == ["+A", "unread A", "moved A", "-A"]


def test_a_symbol_that_another_account_may_send_as_well_is_told_to_have_unread_trades(scene):
    scene.lines["main"].listener.on_requested("A")
    scene.lines["second"].listener.on_requested("A")
    scene.lines["second"].acknowledge("A")
    scene.lines["main"].acknowledge("A")
    assert scene.ear.received == ["?A", "?A", "+A", "unread A", "unread A"]


def test_a_connection_that_is_lost_while_another_account_has_the_symbol_is_no_end_and_yet_told(scene):
    scene.lines["main"].acknowledge("A")
    scene.lines["second"].acknowledge("A")
    scene.lines["main"].lose("A")
    scene.lines["second"].lose("A")
    assert scene.ear.received == ["+A", "unread A", "unread A", "-A"]


def test_a_symbol_lost_before_another_account_has_it_is_reported_subscribed_twice(scene):
    scene.lines["main"].acknowledge("A")
    scene.lines["main"].lose("A")
    scene.lines["second"].acknowledge("A")
    assert scene.ear.received == ["+A", "-A", "+A"]


def test_connection_changes_are_reported_with_their_account(scene):
    lost = ConnectionChanged("kis", "second", 1, "lost", "", 3)
    scene.lines["second"].listener.on_connection(lost)
    assert scene.ear.received == ["second lost"]


async def test_all_streams_run_together_and_end_together(scene):
    task = asyncio.create_task(scene.stream.run())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert [line.closed for line in scene.lines.values()] == [True, True]


@pytest.mark.parametrize(
    ("unread", "concerned"),
    [(("A",), ["A"]), (None, ["A", "B"]), (("A", "C"), ["A", "B"])],
    ids=["named", "unknown", "not streamed there"],
)
def test_an_unreadable_frame_concerns_the_symbols_it_names_or_all_of_its_account(scene, unread, concerned):
    for account, symbol in (("main", "A"), ("main", "B"), ("second", "C")):
        scene.lines[account].acknowledge(symbol)
    scene.lines["main"].listener.on_quarantine(InputQuarantined("kis.trades", 1, "", b""), unread)
    assert scene.ear.received[3:] == [f"unread {concerned}"]
