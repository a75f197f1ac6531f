"""Every trade of a slot is stored or in a gap, whatever was cut, and however late what was sent is read.

Two accounts' connections carry one line. The broker sends acknowledgements and trades at once; they are read later, or
never, where the connection breaks. What is promised: the trades from the broker's first acknowledgement in the slot on,
read or not, until the slot ends.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.events import AccountsClosed, GapDetected, Trade
from observer.brokers.connection_end import CONNECTION_LOST
from observer.brokers.subscriptions import Subscriptions
from observer.collection.pins import Pins
from observer.selection.sampling import SamplingSettings
from tests.collection.day_scene import PLAN, SESSION, SYMBOLS, Tasks, idle_process, market
from tests.reach import Reach, reaches
from tests.selection.builders import member, seen, selector_of
from tests.waiting import until_async

LINE: Final = SYMBOLS[-1]
ACCOUNTS: Final = ("account_001", "account_002")
CLOSED: Final = ((), ACCOUNTS[:1], ACCOUNTS[1:])

What = Literal["trade", "sweep", "pin", "unpin", "closed", "ask", "read", "cut", "lose", "connect"]


class Act(msgspec.Struct, frozen=True):
    """What happens next; `number` is the account of a connection, the accounts that are closed, or the frames that are
    read, or that arrive before a cut.
    """

    what: What
    account: int = 0
    number: int = 0


class Connection:
    """One account's connection, and the broker's end of it: what is sent waits in `frames` until it is read. Satisfies
    `TradeStream`.
    """

    capacity = 1
    held_back_since_ns: int | None = None

    def __init__(self, broker, listener):
        self.frames = deque()
        self.is_registered = False  # at the broker
        self.is_cut = False
        self._broker = broker
        self._listener = listener
        self._subscriptions = Subscriptions(1, ["trades"])
        self._asked = None
        self._is_lost = False

    def want(self, symbols, watched=()):
        del watched
        self._subscriptions.want([each for each in symbols if each == LINE])

    @property
    def subscribed(self):
        return self._subscriptions.symbols

    async def run(self): ...

    def ask(self):
        """Send the next request, one at a time; the broker answers at once."""
        step = self._subscriptions.next_step()
        if self._is_lost or self._asked is not None or step is None:
            return
        self._asked = step
        self._subscriptions.note_asked(step)
        self._listener.on_requested(LINE, removal=step.action == "unregister")
        if not self.is_cut:
            self.is_registered = step.action == "register"
            self.frames.append(step)
            self._broker.acknowledged(step)

    def read(self):
        """Read what was sent first."""
        if not self.frames:
            return
        frame = self.frames.popleft()
        if isinstance(frame, Trade):
            self._listener.on_trades([msgspec.structs.replace(frame, receive_time_ns=self._broker.now_ns())])
            return
        self._asked = None
        if frame.action == "register" and self._subscriptions.note_subscribed(frame.subscription):
            self._listener.on_subscribed(LINE)
        elif frame.action == "unregister" and self._subscriptions.note_unsubscribed(frame.subscription):
            self._listener.on_unsubscribed(LINE, "removed")

    def cut(self, arrive):
        """The broker's end of the connection is gone; of the frames that were sent, so many arrive."""
        if not self.is_cut:
            self.is_cut, self.is_registered = True, False
            self.frames = deque(list(self.frames)[:arrive])

    def lose(self):
        """A connection that was cut is seen to be so; what has arrived of it is not read any more."""
        if not self.is_cut or self._is_lost:
            return
        self._is_lost, self._asked = True, None
        self.frames.clear()
        for each in self._subscriptions.lose_all():
            self._listener.on_unsubscribed(each.symbol, CONNECTION_LOST)

    def connect(self):
        if self._is_lost:
            self._is_lost = self.is_cut = False


class Broker:
    """The line's market, the connections, and the trades that are promised to be stored or stated as missing."""

    def __init__(self, made, running, tasks):
        self._market = made
        self.connections = []
        for account in running.brokers.accounts:
            account.stream = self._opened
        self._first = running.producer.published + 1
        self._running = running
        self.day = running.new_day(PLAN, None, made.clock)
        self.day.receiver.tasks = tasks
        members = [member(each, rank=rank, market_cap=1e13 / rank) for rank, each in enumerate(("A", "B", LINE), 1)]
        self.selector = selector_of(members, dict.fromkeys(ACCOUNTS, 1), made.settings.selection)
        self.day.receiver.selector = self.selector
        self._pins = Pins(self.selector, self.day.moment, self.day.carry_out)
        self._is_begun = False  # a subscription in the slot is acknowledged
        self.promised = []

    def _opened(self, listener):
        self.connections.append(Connection(self, listener))
        return self.connections[-1]

    def now_ns(self):
        return self._market.clock.now_ns()

    @property
    def _holds(self):
        return LINE in self.selector.wanted

    def acknowledged(self, step):
        self._is_begun = self._is_begun or (self._holds and step.action == "register")

    def trade(self):
        made = self._market.trade(LINE, 1.0, 10_000.0)
        self._market.desk.volumes[LINE] = made.cumulative_volume
        registered = [each for each in self.connections if each.is_registered]
        for each in registered:
            each.frames.append(made)
        self._is_begun = self._holds and (self._is_begun or bool(registered))
        if self._is_begun:
            self.promised.append(made)

    def sweep(self):
        volume = self._market.desk.volumes.get(LINE, 0.0)
        swept = seen(LINE, volume, receive_time_ns=self.now_ns(), session_date=SESSION)
        self.selector.market.update_snapshot(swept)
        self.day.receiver.monitor.sweep({LINE: volume})

    def close(self, accounts):
        now_ns = self.day.moment()
        decided = self.selector.close_accounts(frozenset(accounts), now_ns)
        self.day.carry_out(self.selector, AccountsClosed(accounts), now_ns, decided)

    async def act(self, act):
        connection = self.connections[act.account]
        match act.what:
            case "trade":
                self.trade()
            case "sweep":
                self.sweep()
            case "pin":
                self._pins.pin(LINE)
            case "unpin":
                self._pins.unpin(LINE)
            case "closed":
                self.close(CLOSED[act.number])
            case "ask":
                connection.ask()
            case "read":
                for _ in range(act.number):
                    connection.read()
            case "cut":
                connection.cut(act.number)
            case "lose":
                connection.lose()
            case "connect":
                connection.connect()
        self._is_begun = self._is_begun and self._holds
        await self._market.clock.advance(0.001)

    async def end(self):
        """The slot ends, and everything that was sent is read."""
        self._pins.unpin(LINE)
        self.close(())
        for _ in range(3):
            for each in self.connections:
                each.lose()
                each.connect()
                each.ask()
                while each.frames:
                    each.read()
        await until_async(lambda: not self.day.trades.detector.is_watched(LINE))

    def unstated(self, reach):
        """The promised trades, by the day's volume, that are neither stored nor in a gap."""
        self._running.producer.flush()
        published = [event for _, events in self._running.batches(self._first) for event in events]
        stored = {each.cumulative_volume for each in published if isinstance(each, Trade)}
        gaps = [each for each in published if isinstance(each, GapDetected)]
        volumes = [each.cumulative_volume for each in self.promised if each.cumulative_volume not in stored]
        reach.count("promised", len(self.promised))
        reach.count("not_stored", len(volumes))
        return [each for each in volumes if not any(gap.after_volume < each <= gap.before_volume for gap in gaps)]


@pytest.fixture(scope="module")
def scene():
    with market(SamplingSettings(), accounts=2) as made, idle_process(made) as running:
        made.traded.clear()
        asyncio.run(made.clock.advance(3600.0))
        yield made, running


def unstated_after(scene, acts, reach):
    async def play():
        async with Tasks() as tasks:
            broker = Broker(*scene, tasks)
            for act in acts:
                await broker.act(act)
            await broker.end()
            tasks.cancel()
        return broker.unstated(reach)

    return asyncio.run(play())


# A slot is given, the request is sent, the acknowledgement is read or not, the connection breaks, the line moves to the
# other account, the slot ends.
LATE: Final[dict[str, Sequence[Act]]] = {
    "a sweep comes between the acknowledgement and its reading, and the connection is cut": (
        *(Act("sweep"), Act("pin"), Act("ask"), Act("trade"), Act("sweep"), Act("read", 0, 1), Act("cut")),
        *(Act("lose"), Act("trade"), Act("unpin")),
    ),
    "the acknowledgement is never read": (
        *(Act("sweep"), Act("pin"), Act("ask"), Act("trade"), Act("cut"), Act("sweep"), Act("lose"), Act("unpin")),
    ),
    "the acknowledgement is never read, and the line moves": (
        *(Act("sweep"), Act("pin"), Act("ask"), Act("trade"), Act("cut"), Act("sweep"), Act("lose")),
        *(Act("closed", number=1), Act("ask", 1), Act("read", 1, 1), Act("trade"), Act("read", 1, 1), Act("unpin")),
    ),
    "the acknowledgement is read after the end of the slot": (
        *(Act("sweep"), Act("pin"), Act("ask"), Act("trade"), Act("unpin"), Act("sweep"), Act("read", 0, 1)),
        *(Act("cut"), Act("lose")),
    ),
    "the acknowledgement is never read, and the slot is over": (
        *(Act("sweep"), Act("pin"), Act("ask"), Act("trade"), Act("unpin"), Act("sweep"), Act("cut"), Act("lose")),
    ),
    "the connection that the line moves away from is cut with unread trades": (
        *(Act("sweep"), Act("pin"), Act("ask"), Act("read", 0, 1), Act("trade"), Act("read", 0, 1), Act("trade")),
        *(Act("closed", number=1), Act("ask", 1), Act("read", 1, 1), Act("cut"), Act("lose"), Act("unpin")),
    ),
    "the slot ends in a move, before the removal from the account that the line moves away from is read": (
        *(Act("sweep"), Act("pin"), Act("ask"), Act("read", 0, 1), Act("trade"), Act("closed", number=1), Act("ask")),
        *(Act("trade"), Act("unpin"), Act("read", 0, 3)),
    ),
    "the same, and the line has moved back": (
        *(Act("sweep"), Act("pin"), Act("ask"), Act("read", 0, 1), Act("trade"), Act("closed", number=1), Act("ask")),
        *(Act("trade"), Act("closed"), Act("unpin"), Act("read", 0, 3)),
    ),
    "the other account sends it later than this one removes it, and is read earlier": (
        *(Act("sweep"), Act("pin"), Act("ask"), Act("read", 0, 1), Act("trade"), Act("closed", number=1), Act("ask")),
        *(Act("trade"), Act("ask", 1), Act("read", 1, 1), Act("read", 0, 3), Act("unpin")),
    ),
    "two accounts are asked, and the later answer is read first": (
        *(Act("sweep"), Act("pin"), Act("ask"), Act("trade"), Act("closed", number=1), Act("ask", 1), Act("trade")),
        *(Act("read", 1, 3), Act("read", 0, 3), Act("unpin")),
    ),
    "two accounts send it, and the later one is read first": (
        *(Act("sweep"), Act("pin"), Act("ask"), Act("trade"), Act("closed", number=1), Act("read", 0, 1)),
        *(Act("ask", 1), Act("trade"), Act("read", 1, 3), Act("read", 0, 3), Act("unpin")),
    ),
    "no volume is known": (
        *(Act("pin"), Act("ask"), Act("read", 0, 1), Act("trade"), Act("cut"), Act("lose"), Act("trade")),
        *(Act("connect"), Act("ask"), Act("read", 0, 1), Act("trade"), Act("read", 0, 1), Act("unpin")),
    ),
    "no volume is known until it is asked for, and the acknowledgement is read late": (
        *(Act("pin"), Act("ask"), Act("trade"), Act("read", 0, 1), Act("cut"), Act("lose"), Act("unpin")),
    ),
}


@pytest.mark.parametrize("moments", LATE)
def test_a_trade_beside_a_cut_is_stored_or_in_a_gap(scene, moments):
    reach = Reach()
    assert unstated_after(scene, LATE[moments], reach) == []
    assert reach.counts["promised"] >= 1


OFTEN: Final = (Act("trade"), Act("trade"), *(Act(what, account) for what in ("ask", "connect") for account in (0, 1)))
ACTS: Final = (
    *(OFTEN * 2),
    *(Act("sweep"), Act("pin"), Act("unpin"), *(Act("closed", number=number) for number in (0, 1, 2))),
    *(Act("read", account, number) for account in (0, 1) for number in (1, 1, 3)),
    *(Act("cut", account, number) for account in (0, 1) for number in (0, 1)),
    *(Act("lose", account) for account in (0, 1)),
)


@reaches(promised=40, not_stored=18)
@given(is_swept=st.booleans(), acts=st.lists(st.sampled_from(ACTS), min_size=10, max_size=50))
def test_every_trade_of_a_slot_is_stored_or_in_a_gap(scene, reach, is_swept, acts):
    begins = [*([Act("sweep")] if is_swept else []), Act("pin"), Act("ask")]
    assert unstated_after(scene, [*begins, *acts], reach) == []
