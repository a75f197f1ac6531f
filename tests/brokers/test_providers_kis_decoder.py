"""The generic decoder of bodies, and that every declaration of the schema is whole."""

from datetime import date
from types import NoneType, UnionType
from typing import Annotated, Literal, get_args, get_origin, get_type_hints

import msgspec
import pytest

from observer.base.errors import MalformedError
from observer.brokers.kis import values
from observer.brokers.kis.calls import CALLS
from observer.brokers.kis.decoder import Nested, Record, either, together

text, amount, price = either(values.text), either(values.amount), either(values.price)


class Part(msgspec.Struct, frozen=True, kw_only=True):
    name: Annotated[str, text("part_name")]
    owner: Annotated[str, text("@symbol")]


class Whole(msgspec.Struct, frozen=True, kw_only=True):
    symbol: Annotated[str, text("@symbol")]
    price: Annotated[float, price("now", "before")]
    change: Annotated[float, together(values.signed)("diff", "sign")]
    parts: Annotated[tuple[Part, ...], Nested("output2", Record(Part, key=("part_name",)))]


class Row(msgspec.Struct, frozen=True):
    """A row as it belongs to all brokers: the rules stand beside it."""

    rank: int | None
    time: float
    note: str = "default"


RULES = {"rank": either(values.whole)("rank"), "time": amount("time")}
WHOLE = Record(Whole, blocks=("output1", "output3"), one=True, required="price")


def read(record, **body):
    return record.read(msgspec.json.decode(msgspec.json.encode(body), type=record.body_type), {"symbol": "005930"})


def test_one_row_is_merged_from_its_blocks_and_contains_nested_rows():
    parts = [{"part_name": " a "}, {"part_name": " "}, {"part_name": "b"}]
    [whole] = read(WHOLE, output1={"now": "0", "diff": "5"}, output3=[{"before": "7", "sign": "5"}], output2=parts)
    assert whole == Whole(
        symbol="005930",
        price=7.0,
        change=-5.0,
        parts=(Part(name="a", owner="005930"), Part(name="b", owner="005930")),
    )


@pytest.mark.parametrize("body", [{}, {"output1": {"now": " "}}, {"output1": [], "output2": [{"part_name": "a"}]}])
def test_a_row_without_its_required_field_is_left_out(body):
    assert read(WHOLE, **body) == []


def test_rows_are_put_oldest_first_and_those_of_one_time_keep_their_sequence():
    newest_first = [{"time": "2", "rank": "1"}, {"time": "1", "rank": "3"}, {"time": "1", "rank": "2"}]
    found = read(Record(Row, RULES, order="time"), output=newest_first)
    assert [(row.time, row.rank) for row in found] == [(1.0, 2), (1.0, 3), (2.0, 1)]


def test_a_row_with_a_blank_rank_gets_its_row_number():
    found = read(Record(Row, RULES, index="rank"), output=[{"rank": "1"}, {"rank": ""}, {}])
    assert [row.rank for row in found] == [1, 2, 3]


def test_the_last_rows_are_kept_where_there_is_a_bound():
    found = read(Record(Row, RULES, order="time", rows_max=2), output=[{"time": str(each)} for each in (3, 2, 1)])
    assert [row.time for row in found] == [2.0, 3.0]


def test_an_attribute_without_a_rule_keeps_its_default():
    assert read(Record(Row, RULES), output={"time": "1"}) == [Row(None, 1.0)]


def test_a_name_holds_no_control_characters_and_is_no_book():
    assert values.text(" 삼성\x1b[2J전자\x00\u202e ") == "삼성[2J전자"
    with pytest.raises(MalformedError, match="has 20,000,000 letters"):
        values.text("x" * 20_000_000)


def test_an_unreadable_field_is_named_in_the_error():
    with pytest.raises(MalformedError, match="diff, sign: 'x' is not a number"):
        read(WHOLE, output1={"now": "1", "diff": "x"})


# --- the schema ---


def result_of(rule):
    """The type of what a rule's function returns."""
    return get_type_hints(getattr(rule.read, "__wrapped__", rule.read))["return"]


def plain(hint):
    """A type without its annotations; the literals of a code are texts."""
    kept = [each for each in get_args(hint) if each is not NoneType] if isinstance(hint, UnionType) else [hint]
    return {str if get_origin(each) is Literal else each for each in kept}


@pytest.mark.parametrize("call", CALLS.values(), ids=lambda call: call.name)
def test_every_rule_returns_the_type_of_its_attribute(call):
    record, hints = call.record, get_type_hints(call.record.result)
    required = [
        name for name, field in zip(hints, msgspec.structs.fields(record.result), strict=True) if field.required
    ]
    assert set(required) <= record.rules.keys() <= hints.keys()
    for name in record.rules.keys() - record.nested.keys():
        found, declared = result_of(record.rules[name]), hints[name]
        assert plain(found) == plain(declared), name
        may_be_none = isinstance(found, UnionType) and name != record._required
        assert may_be_none <= isinstance(declared, UnionType), name


def test_every_value_that_a_row_takes_from_the_request_is_a_parameter_of_its_call():
    for call in CALLS.values():
        assert call.record.given <= {*call.parameters, "day"}, call.name
        assert not call.record.order or call.record.order in call.record.rules, call.name


def test_an_attribute_without_a_rule_keeps_its_default_also_before_one_that_has_a_rule():
    class Row(msgspec.Struct):
        first: str
        second: str = "default"
        third: str = ""

    record = Record(Row, {"first": either(values.text)("a"), "third": either(values.text)("b")})
    [found] = record.read_rows([record.row_type(a="1", b="3")], {})
    assert found == Row("1", "default", "3")


def test_a_date_may_stand_in_for_another():
    rule = either(values.day)("listed", "listed_elsewhere")
    assert rule.read("00000000", "20260203") == date(2026, 2, 3)
