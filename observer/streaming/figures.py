"""The figures of slots for the exporter."""

from collections.abc import Iterator

from bus.commands import Sample
from observer.accounts.clients import Brokers
from observer.selection.selector import Selector
from observer.streaming.day import StreamingDay


def slot_samples(day: StreamingDay, selector: Selector, brokers: Brokers) -> Iterator[Sample]:
    """Slots by account and state, candidates, and the overflow of the last hour."""
    wanted = selector.wanted_by_account
    for account in brokers.accounts:
        symbols = set(wanted.get(account.name, ()))
        streaming = len(symbols & day.stream.subscribed_at(account.name))
        requested, free = len(symbols) - streaming, account.capacity - len(symbols)
        states = {"streaming": streaming, "requested": requested, "free": free}
        yield from (Sample("observer_slots", (account.name, state), count) for state, count in states.items())
    yield Sample("observer_slot_candidates_waiting", (), len(selector.waiting))
    if day.overflow.rate is not None:
        yield Sample("observer_slot_overflow_ratio", (), day.overflow.rate)
