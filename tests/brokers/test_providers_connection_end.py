"""Of several errors that end a connection, the most specific one counts."""

import asyncio
from itertools import permutations

import pytest

from observer.brokers.connection_end import KeyChangedError, LostError, RefusedError, decisive
from observer.brokers.dialect import SessionRefused

CANCELLED = asyncio.CancelledError()
NEW_KEY = KeyChangedError()
LOST = LostError("closed by the broker")
REFUSED = RefusedError(SessionRefused("OPSP8996", "ALREADY IN USE appkey", key_rejected=False))
BUG = ZeroDivisionError()


@pytest.mark.parametrize(
    ("outcomes", "counts"),
    [
        ((CANCELLED, NEW_KEY, None), NEW_KEY),
        ((CANCELLED, NEW_KEY, LOST), LOST),  # there is nothing left to close cleanly
        ((CANCELLED, LOST, REFUSED), REFUSED),
        ((LOST, REFUSED, BUG), BUG),
        ((CANCELLED, CANCELLED, LOST), LOST),
    ],
)
def test_the_most_significant_end_of_a_connection_counts_in_any_order(outcomes, counts):
    assert {decisive(order) for order in permutations(outcomes)} == {counts}
