"""For any JSON or bytes from a host, a call returns a model object or raises one of our errors."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observer.base.errors import MalformedError, ProviderError
from observer.brokers.kis import values
from tests.brokers.kis_contract import CONTRACTS, row_of
from tests.brokers.kis_contract import read as read_content
from tests.properties import examples
from tests.strategies import json_values

BODIES = {
    repr(contract): json_values(
        st.sampled_from([*row_of(contract.call), "output", "output1", "output2", "ctx_area_nk"])
    )
    for contract in CONTRACTS
}


def read(contract, content):
    try:
        return read_content(contract, content)
    except ProviderError as error:
        return error


@pytest.mark.parametrize("contract", CONTRACTS, ids=repr)
@examples(0.3)
@given(st.data())
def test_any_json_is_decoded_or_raises_one_of_our_errors(contract, data):
    value = data.draw(BODIES[repr(contract)])
    for body in (value, {"output": value, "output1": value, "output2": [value]}):
        read(contract, json.dumps(body).encode())


@given(st.sampled_from(CONTRACTS), st.binary(max_size=200))
def test_bytes_that_are_no_json_are_malformed(contract, content):
    assert isinstance(read(contract, b"\xff" + content), MalformedError)


FIGURES = st.floats(-1e17, 1e17).map(lambda figure: float(f"{figure:.4f}"))
PADDING = st.sampled_from(["", " ", "   "])


@given(FIGURES, st.integers(0, 12), PADDING, PADDING)
def test_a_number_is_the_same_however_it_is_padded(figure, zeros, before, after):
    digits = f"{abs(figure):.4f}"
    sign = "-" if figure < 0 else ""
    assert values.amount(f"{before}{sign}{'0' * zeros}{digits}{after}") == figure


@given(st.text())
def test_a_text_is_a_finite_number_or_malformed(text):
    try:
        assert abs(values.amount(text)) <= values.MAGNITUDE_MAX
    except MalformedError:
        assert text.strip()


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e19", "1_000", "1,000", "٣", "--1", "+ 1", "0x1", "1 2", "Y"])
def test_a_text_that_no_market_writes_is_not_a_number(text):
    with pytest.raises(MalformedError):
        values.amount(text)


@pytest.mark.parametrize("text", ["", "  ", "0", "000", "0.00"])
def test_a_blank_or_zero_price_is_none(text):
    assert values.price(text) is None
    assert values.whole(text) is None
    assert values.hundred_millions(text) is None


@pytest.mark.parametrize(("text", "rate"), [("", None), (" ", None), ("0.00", 0.0), ("-0.12", -0.12), ("+1.5", 1.5)])
def test_a_rate_of_zero_is_a_rate(text, rate):
    assert values.number(text) == rate


@pytest.mark.parametrize(
    ("text", "sign", "change"),
    [
        ("500", "2", 500.0),
        ("500", "1", 500.0),
        ("500", "5", -500.0),
        ("500", "4", -500.0),
        ("-500", "5", -500.0),
        ("-500", "", -500.0),
        ("-500", "2", -500.0),
        ("0", "3", 0.0),
        ("", "5", 0.0),
    ],
)
def test_a_change_falls_by_its_sign_code_or_its_own_sign(text, sign, change):
    assert values.signed(text, sign) == change


def test_a_whole_number_may_have_an_empty_fraction_and_no_other():
    assert values.whole(" 0005969782550.00") == 5_969_782_550
    with pytest.raises(MalformedError):
        values.whole("1.5")


@pytest.mark.parametrize("text", ["", " ", "00000000"])
def test_a_blank_date_is_none_if_optional_and_malformed_if_required(text):
    assert values.day(text) is None
    with pytest.raises(MalformedError):
        values.certain_day(text)


@pytest.mark.parametrize("text", ["20260230", "2026-02-03", "00010101", "2026020", "x"])
def test_an_impossible_date_is_malformed(text):
    with pytest.raises(MalformedError):
        values.day(text)


@pytest.mark.parametrize("text", ["", "1", "X", "y"])
def test_an_unknown_answer_whether_an_exchange_opens_is_malformed(text):
    assert values.yes(text) is False
    with pytest.raises(MalformedError):
        values.yes_or_no(text)


def test_an_error_quotes_only_the_beginning_of_a_long_value():
    with pytest.raises(MalformedError) as caught:
        values.amount("x" * 10_000)
    assert len(str(caught.value)) < 100
