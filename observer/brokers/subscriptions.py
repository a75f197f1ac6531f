"""The wanted and the acknowledged subscriptions of one connection, the next request, and when it may be sent. Pure.

Only the broker's acknowledgements say what is subscribed: a refused subscription that counted as active would be an
unnoticed gap, as a stream can be silent for other reasons.
"""

from collections.abc import Collection, Sequence
from typing import Literal

import msgspec

from observer.base.lines import line_of
from observer.base.units import NS_PER_MINUTE
from observer.brokers.broker import RecordKind
from observer.brokers.dialect import Subscription, SubscriptionRefused


class Step(msgspec.Struct, frozen=True):
    """The next request to the broker."""

    action: Literal["register", "unregister"]
    subscription: Subscription


def next_step(
    wanted: Sequence[Subscription],
    subscribed: Collection[Subscription],
    refused: Collection[Subscription],
    capacity: int,
) -> Step | None:
    """The next request, None when all is as wanted: the most important missing subscription, and before it a removal
    where there is no room for it.

    A removal therefore comes only when its slot is needed or nothing is missing: with few changes allowed (see
    `SubscriptionRateLimiter`), each slot that is given up is taken again at once, and removals never keep subscriptions
    waiting. A refused subscription is not retried until the state changes, see `Subscriptions`.
    """
    missing = next((each for each in wanted if each not in subscribed and each not in refused), None)
    surplus = next((each for each in subscribed if each not in wanted and each not in refused), None)
    if missing is not None and (len(subscribed) < capacity or surplus is None):
        return Step("register", missing)
    return None if surplus is None else Step("unregister", surplus)


class Subscriptions:
    """The state of one connection's subscriptions.

    A refused one is retried after a removal made room, after a reconnection, when `want` dropped it and it was
    wanted again, or when the refusals are forgotten: a retry at every call of `want` would flood the broker.
    """

    def __init__(self, capacity: int, records: Sequence[RecordKind]) -> None:
        """So many subscriptions in all, and these kinds of records of every symbol."""
        self._capacity = capacity
        self._records = records
        self._wanted: tuple[Subscription, ...] = ()
        # In the order of acknowledgement. Only the broker's answers change it; a disconnect empties it.
        self._subscribed: dict[Subscription, None] = {}
        self._refused: set[Subscription] = set()
        self._asked: Step | None = None  # the latest request, until it is answered: a refusal without a name means it

    def __len__(self) -> int:
        """The number of subscriptions in use."""
        return len(self._subscribed)

    @property
    def symbols_max(self) -> int:
        """The number of symbols that fit, with all their records."""
        return self._capacity // len(self._records)

    @property
    def subscribed(self) -> tuple[Subscription, ...]:
        """The acknowledged subscriptions, in the order of acknowledgement."""
        return tuple(self._subscribed)

    @property
    def symbols(self) -> frozenset[str]:
        """The symbols with acknowledged trades."""
        return frozenset(each.symbol for each in self._subscribed if each.kind == "trades")

    def want(self, symbols: Sequence[str], watched: Sequence[str] = ()) -> None:
        """The lines to be streamed, most important first, and behind them those whose market state alone is; what does
        not fit does not count.

        All their trades come before any other kind of record: what is missing of trades must be recovered. A net asset
        value is the ETF's own, not a venue's: only the line at the main venue has it.
        """
        chosen = tuple(dict.fromkeys(symbols))[: self.symbols_max]
        kinds = sorted(self._records, key=lambda kind: kind != "trades")
        wanted = (Subscription(kind, symbol) for kind in kinds for symbol in chosen)
        chosen_records = [each for each in wanted if each.kind != "nav" or not line_of(each.symbol).venue]
        states = (Subscription("market_state", symbol) for symbol in watched)
        self._wanted = tuple(dict.fromkeys([*chosen_records, *states]))[: self._capacity]
        self._refused.intersection_update({*self._wanted, *self._subscribed})

    def next_step(self) -> Step | None:
        """The next request; see `next_step`."""
        return next_step(self._wanted, self._subscribed, self._refused, self._capacity)

    def note_asked(self, step: Step) -> None:
        """Record that the step's text is being sent."""
        self._asked = step

    def is_answered(self, step: Step) -> bool:
        """Whether the broker has answered the step since the request."""
        if step.subscription in self._refused:
            return True
        return (step.subscription in self._subscribed) == (step.action == "register")

    def note_subscribed(self, subscription: Subscription) -> bool:
        """Record an acknowledgement; return whether it changes the state."""
        self._refused.discard(subscription)
        self._note_answered(subscription)
        news = subscription not in self._subscribed
        self._subscribed[subscription] = None
        return news

    def note_unsubscribed(self, subscription: Subscription) -> bool:
        """Record a removal, which frees a subscription for refused ones; return whether it changes the state."""
        self._refused.clear()
        self._note_answered(subscription)
        news = subscription in self._subscribed
        self._subscribed.pop(subscription, None)
        return news

    def note_refused(self, message: SubscriptionRefused) -> Subscription | None:
        """Record a refusal; return the subscription that it leaves inactive, None if none."""
        subscription = message.subscription or (self._asked.subscription if self._asked is not None else None)
        if subscription is None:
            return None
        self._note_answered(subscription)
        self._refused.add(subscription)
        return subscription if subscription not in self._subscribed else None

    def note_session_refused(self) -> None:
        """Record that the broker ends the session, and does not do the latest request."""
        self._asked = None

    def forget_refusals(self) -> bool:
        """Allow retries of subscriptions that were refused for a passing reason (OPSP0007); return whether there were
        any.
        """
        any_refused = bool(self._refused)
        self._refused.clear()
        return any_refused

    def _note_answered(self, subscription: Subscription) -> None:
        if self._asked is not None and self._asked.subscription == subscription:
            self._asked = None

    def lose_all(self) -> tuple[Subscription, ...]:
        """Clear the state after a disconnect; return the lost subscriptions, in order of acknowledgement, and behind
        them one that was requested and not answered: the broker may have had it, and its records were not read.
        """
        asked, gone = self._asked, self.subscribed
        if asked is not None and asked.action == "register":
            gone = tuple(dict.fromkeys([*gone, asked.subscription]))
        self._subscribed.clear()
        self._refused.clear()
        self._asked = None
        return gone


class SubscriptionRateLimiter:
    """At most `changes_per_minute` changes a minute of market time, and what is not used is saved for later, up to
    `burst` changes; a new connection has as many at once, because a slot without a subscription is a gap.

    The broker is reported to block keys that register and remove in loops. So in t minutes there are never more than
    `changes_per_minute` x t + `burst`, beside `burst` for each new connection, and `backoff.py` keeps those few. With
    the defaults ten minutes have 81 changes at most: fewer than the 41 replacements from which the selection's churn
    guard brakes.
    """

    def __init__(self, changes_per_minute: int, burst: int) -> None:
        self._change_ns = NS_PER_MINUTE // changes_per_minute
        self._saved_max_ns = (burst - 1) * self._change_ns
        self._full_ns = 0  # when all is saved again

    def connected(self) -> None:
        """Record a new connection: it needs all subscriptions again."""
        self._full_ns = 0

    def spend(self, now_ns: int) -> None:
        """Record a change."""
        self._full_ns = max(self._full_ns, now_ns) + self._change_ns

    def allowed_ns(self, now_ns: int, step: Step) -> int:
        """The time at which the step is allowed; `now_ns` if it is now. A removal waits until the subscription that it
        makes room for is allowed as well: between them neither line is streamed.
        """
        following_ns = self._change_ns if step.action == "unregister" else 0
        return max(now_ns, self._full_ns + following_ns - self._saved_max_ns)
