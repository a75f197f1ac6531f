"""The generic decoder of bodies, and that every table of the schema is whole."""

from datetime import date
from types import NoneType, UnionType
from typing import get_args, get_type_hints

import msgspec
import pytest

from observer.base.errors import MalformedError
from observer.brokers.kis import values
from observer.brokers.kis.calls import CALLS
from observer.brokers.kis.decoder import Record


class Row(msgspec.Struct, frozen=True):
    """A row as it belongs to all brokers."""

    rank: int | None
    time: float
    note: str = "default"
    last: str = ""


ROWS = """
    rank  whole   rank
    time  amount  time
    last  text    other
"""
WHOLE = Record(
    "Whole",
    """
    symbol  text    @symbol
    price   price   now before
    change  signed  diff sign
    listed  day     listed listed_elsewhere
    """,
    one=True,
    required="price",
)


def read(record, **body):
    return record.read(msgspec.json.decode(msgspec.json.encode(body), type=record.body_type), {"symbol": "005930"})


@pytest.mark.parametrize("as_output", [lambda row: row, lambda row: [row, {"now": "9"}]], ids=["object", "list"])
def test_one_row_is_read_from_an_object_or_a_list_with_its_alternatives_and_signs(as_output):
    row = {"now": "0", "before": "7", "diff": "5", "sign": "5", "listed": "00000000", "listed_elsewhere": "20260203"}
    [whole] = read(WHOLE, output=as_output(row))
    assert whole == WHOLE.result(symbol="005930", price=7.0, change=-5.0, listed=date(2026, 2, 3))


@pytest.mark.parametrize("body", [{}, {"output": {"now": " "}}, {"output": []}])
def test_a_row_without_its_required_field_is_left_out(body):
    assert read(WHOLE, **body) == []


def test_rows_are_put_oldest_first_and_those_of_one_time_keep_their_sequence():
    newest_first = [{"time": "2", "rank": "1"}, {"time": "1", "rank": "3"}, {"time": "1", "rank": "2"}]
    found = read(Record(Row, ROWS, order="time"), output=newest_first)
    assert [(row.time, row.rank) for row in found] == [(1.0, 2), (1.0, 3), (2.0, 1)]


def test_the_last_rows_are_kept_where_there_is_a_bound():
    found = read(Record(Row, ROWS, order="time", rows_max=2), output=[{"time": str(each)} for each in (3, 2, 1)])
    assert [row.time for row in found] == [2.0, 3.0]


def test_an_attribute_without_a_line_keeps_its_default():
    assert read(Record(Row, ROWS), output={"time": "1", "other": "x"}) == [Row(None, 1.0, "default", "x")]


def test_a_name_holds_no_control_characters_and_is_no_book():
    assert values.text(" 삼성\x1b[2J전자\x00\u202e ") == "삼성[2J전자"
    with pytest.raises(MalformedError, match="has 20,000,000 letters"):
        values.text("x" * 20_000_000)


def test_an_unreadable_field_is_named_in_the_error():
    with pytest.raises(MalformedError, match="diff, sign: 'x' is not a number"):
        read(WHOLE, output={"now": "1", "diff": "x"})


# --- the schema ---


def plain(hint):
    """A type without its None."""
    return {each for each in get_args(hint) if each is not NoneType} if isinstance(hint, UnionType) else {hint}


@pytest.mark.parametrize("call", CALLS.values(), ids=lambda call: call.name)
def test_every_rule_returns_the_type_of_its_attribute(call):
    record, hints = call.record, get_type_hints(call.record.result)
    required = {each.name for each in msgspec.structs.fields(record.result) if each.required}
    assert required <= {field.attribute for field in record.fields} <= hints.keys()
    for field in record.fields:
        found, declared = get_type_hints(field.function)["return"], hints[field.attribute]
        assert plain(found) == plain(declared), field.attribute
        may_be_none = isinstance(found, UnionType) and field.attribute != record.required
        assert may_be_none <= isinstance(declared, UnionType), field.attribute


def test_every_value_that_a_row_takes_from_the_request_is_a_parameter_of_its_call():
    for call in CALLS.values():
        assert call.record.given <= {*call.parameters, "day"}, call.name
        assert not call.record.order or call.record.order in call.record.result.__struct_fields__, call.name
