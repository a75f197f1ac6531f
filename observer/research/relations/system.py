"""What the system did: phases of the day, connections to brokers, sweeps."""

from datetime import date, datetime
from typing import Final

import msgspec

from observer.research.asked import stored
from observer.research.relation import Relation


class Phase(msgspec.Struct, frozen=True):
    """The changes of the phase of the trading day.

    Attributes:
        day: the day of the market.
        time: when it changed.
        previous: the phase before.
        current: the phase from then on.
    """

    day: date
    time: datetime
    previous: str
    current: str


class Connection(msgspec.Struct, frozen=True):
    """The changes of the accounts' market data streams.

    Attributes:
        time: when it changed.
        account: whose stream it is.
        provider: the broker.
        state: connected, lost, refused, closed or suspended.
        reason: of the change.
        subscriptions: that were acknowledged then.
    """

    time: datetime
    account: str
    provider: str
    state: str
    reason: str
    subscriptions: int


class Sweep(msgspec.Struct, frozen=True):
    """The completed sweeps of the universe over REST.

    Attributes:
        day: the day of the market.
        sweep: its number on the day.
        started: when the first call was made.
        completed: when the last answer came.
        requested: symbols.
        received: symbols with an answer.
        requests: calls.
    """

    day: date
    sweep: int
    started: datetime
    completed: datetime
    requested: int
    received: int
    requests: int


SYSTEM: Final = (
    Relation(
        "phases", Phase, stored("phases", Phase, "changed_ns", time="changed_ns"), ("phases",), each=("phases",),
        symbols="no",
    ),
    Relation(
        "connections", Connection, stored("connections", Connection, "changed_ns", time="changed_ns"),
        ("connections",), each=("connections",), counted=("state",), symbols="no",
    ),
    Relation(
        "sweeps", Sweep, stored("sweeps", Sweep, "completed_ns"), ("sweeps",), each=("sweeps",), symbols="no",
    ),
)  # fmt: skip
