"""What the judge of a poisoned day excuses, and nothing beside it."""

import pytest

from tests.chaos.poisoned_day import second_connections, was_cut

CUT = [(100, 200)]


@pytest.mark.parametrize(
    ("kind", "volume", "total", "excused"),
    [
        ("price", 7.0, 157.0, True),
        ("price", 7.0, 107.0, True),  # the last true one came, the false one after it did not
        ("price", 7.0, 106.0, False),
        ("negative", -7.0, 150.0, True),
        ("negative", -7.0, 208.0, False),
        ("volume", 7.0, 150_000.0, True),
        ("block", 7.0, 201_000.0, False),
    ],
)
def test_a_false_record_is_excused_only_if_the_cut_took_the_true_one_beside_it(kind, volume, total, excused):
    assert was_cut(kind, ("005930", 0, 70_000.0, volume, total), CUT) == excused


def subscription(symbol, from_ns, ended_ns, volume):
    return {
        "symbol": symbol,
        "acknowledged_ns": from_ns,
        "ended_ns": ended_ns,
        "spans": [{"volume_before": volume, "volume_after": volume + 10}],
    }


@pytest.mark.parametrize(
    ("symbol", "ended_ns", "found"),
    [("A", 20, {("A", 500)}), ("A", None, {("A", 500)}), ("A", 12, set()), ("B", 20, set())],
)
def test_a_second_connection_is_one_that_begins_while_another_carries_the_symbol(symbol, ended_ns, found):
    ledger = [subscription("A", 15, 30, 500), subscription(symbol, 10, ended_ns, 300)]
    assert second_connections(ledger) == found
