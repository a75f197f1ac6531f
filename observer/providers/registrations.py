"""What one connection is to carry, what the broker acknowledged of it, and what to ask next. Pure.

The broker's acknowledgements are the only truth about what is registered (kis-api.md, section 7): a registration that
was refused but believed active would be a silent hole.
"""

from collections.abc import Collection, Sequence
from typing import Literal

import msgspec

from observer.providers.dialect import Refused, Registration
from observer.providers.interfaces import RecordKind


class Step(msgspec.Struct, frozen=True):
    """The next thing to ask the broker for."""

    action: Literal["register", "unregister"]
    registration: Registration


def next_step(
    wanted: Sequence[Registration],
    registered: Collection[Registration],
    refused: Collection[Registration],
    capacity: int,
) -> Step | None:
    """What to ask for next, None when all is as wanted: the most important registration that is missing, and before it
    a removal where there is no room for it.

    A removal therefore comes only when its place is needed or nothing is missing: with few changes allowed (see
    `budget.py`), each place that is given up is taken again at once, and removals never keep registrations waiting.
    What the broker refused is not asked again until something has changed, see `Registrations`.
    """
    missing = next((each for each in wanted if each not in registered and each not in refused), None)
    surplus = next((each for each in registered if each not in wanted and each not in refused), None)
    if missing is not None and (len(registered) < capacity or surplus is None):
        return Step("register", missing)
    return None if surplus is None else Step("unregister", surplus)


class Registrations:
    """The state of one connection's registrations.

    A refused one is asked for again after a removal made room, after a reconnection, when it was given up by `want` and
    wanted anew, or when the refusals are forgotten: asking at every call of `want` would be hammering.
    """

    def __init__(self, capacity: int, records: Sequence[RecordKind]) -> None:
        """So many registrations in all, and these kinds of records of every symbol."""
        self._capacity = capacity
        self._records = records
        self._wanted: tuple[Registration, ...] = ()
        # In the order of acknowledgement. Changed by the broker's word alone; emptied with the connection.
        self._registered: dict[Registration, None] = {}
        self._refused: set[Registration] = set()
        self._asked: Registration | None = None  # by the latest request: a refusal that names nothing means it

    def __len__(self) -> int:
        """How many places of the connection are taken."""
        return len(self._registered)

    @property
    def symbols_max(self) -> int:
        """How many symbols fit, with all their records."""
        return self._capacity // len(self._records)

    @property
    def registered(self) -> tuple[Registration, ...]:
        """What the broker has acknowledged, in this order."""
        return tuple(self._registered)

    @property
    def symbols(self) -> frozenset[str]:
        """The symbols whose trades the broker has acknowledged."""
        return frozenset(each.symbol for each in self._registered if each.kind == "trades")

    def want(self, symbols: Sequence[str]) -> None:
        """The symbols to be streamed, most important first; what does not fit does not count.

        All their trades come before any other kind of record: what is missing of trades must be recovered.
        """
        chosen = tuple(dict.fromkeys(symbols))[: self.symbols_max]
        kinds = sorted(self._records, key=lambda kind: kind != "trades")
        self._wanted = tuple(Registration(kind, symbol) for kind in kinds for symbol in chosen)
        self._refused.intersection_update({*self._wanted, *self._registered})

    def next_step(self) -> Step | None:
        """What to ask for next, see `next_step`."""
        return next_step(self._wanted, self._registered, self._refused, self._capacity)

    def note_asked(self, step: Step) -> None:
        """The step's text is about to be sent."""
        self._asked = step.registration

    def is_answered(self, step: Step) -> bool:
        """Whether the broker has said anything about the step since it was asked."""
        if step.registration in self._refused:
            return True
        return (step.registration in self._registered) == (step.action == "register")

    def note_registered(self, registration: Registration) -> bool:
        """The broker acknowledged it; returns whether that is news."""
        self._refused.discard(registration)
        news = registration not in self._registered
        self._registered[registration] = None
        return news

    def note_unregistered(self, registration: Registration) -> bool:
        """The broker removed it; returns whether that is news. There is room now for what was refused."""
        self._refused.clear()
        news = registration in self._registered
        self._registered.pop(registration, None)
        return news

    def note_refused(self, message: Refused) -> Registration | None:
        """The broker refused; returns the registration that is not active for that reason, None if none is."""
        registration = message.registration or self._asked
        if registration is None:
            return None
        self._refused.add(registration)
        return registration if registration not in self._registered else None

    def forget_refusals(self) -> bool:
        """What was refused for a passing reason (OPSP0007) may be asked for again; returns whether there was any."""
        any_refused = bool(self._refused)
        self._refused.clear()
        return any_refused

    def lose_all(self) -> tuple[Registration, ...]:
        """The connection is gone: returns what was registered on it, in its order, and begins anew."""
        gone = self.registered
        self._registered.clear()
        self._refused.clear()
        self._asked = None
        return gone
