"""Text from outside: without control characters, bounded, and without secrets in any form."""

import base64
import urllib.parse
from unicodedata import category

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from observer.base.errors import DataFileError, MalformedError
from observer.base.text import CONCEALED, conceal, cut, plain_lines, plain_text, shown, without_secrets

HOSTILE = "\x00\x07\x1b[31m\x7f\x85\x9b\u202e\u2066\u200b\u2028"
SECRET = "PSk3/9dXq+Zw7LmB0tRv5Yc2HnEa8UjG4ofi"


@given(st.text())
def test_no_control_character_is_left(any_text):
    assert not {category(letter) for letter in plain_text(any_text)} & {"Cc", "Cf", "Cs", "Zl", "Zp"}


@given(st.text(st.characters(categories=["L", "N", "P", "S", "Zs"])))
def test_letters_and_blanks_of_any_script_stay(any_text):
    assert plain_text(any_text) == any_text


def test_the_ends_of_lines_become_blanks_and_escapes_go():
    assert plain_text(f"삼성{HOSTILE}전자\n우") == "삼성[31m  전자 우"
    assert plain_lines("one\x07\ntwo") == "one\ntwo"


@given(st.text(), st.integers(64, 5_000))
def test_a_cut_text_is_bounded_and_states_what_is_missing(any_text, bytes_max):
    content = any_text.encode("utf-8", "backslashreplace")
    short = cut(any_text, bytes_max)
    assert len(short.encode("utf-8", "backslashreplace")) <= bytes_max
    assert cut(short, bytes_max) == short
    if len(content) <= bytes_max:
        assert short == any_text
    else:
        head, _, counted = short.rpartition("... (")
        missing = int(counted.removesuffix(" bytes more)").replace(",", ""))
        assert len(head.encode()) + missing == len(content)


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        SECRET[:18],
        SECRET[18:],
        SECRET[9:27],
        urllib.parse.quote(SECRET, safe=""),
        urllib.parse.quote(SECRET, safe="").lower(),
        urllib.parse.quote_plus(SECRET),
        SECRET.replace("/", "\\/"),
        SECRET.encode().hex(),
        base64.b64encode(SECRET.encode()).decode(),
        base64.urlsafe_b64encode(SECRET.encode()).decode(),
        base64.b64encode(f"u:{SECRET}:rest".encode()).decode(),
        base64.b64encode(f"key:{SECRET}".encode()).decode(),
        base64.b64encode(SECRET.encode()).decode()[:28],
    ],
)
def test_a_secret_is_blanked_out_in_every_form(form):
    conceal(SECRET)
    found = without_secrets(f"refused: <{form}>, and again {form}")
    assert CONCEALED in found
    longest = max((form[at : at + 12] in found for at in range(len(form) - 12)), default=False)
    assert not longest, found


@given(st.text(max_size=40), st.text(max_size=40), st.data())
def test_half_of_a_secret_is_blanked_out_wherever_it_stands(before, after, data):
    conceal(SECRET)
    begin = data.draw(st.integers(0, 18))
    part = SECRET[begin : begin + data.draw(st.integers(18, len(SECRET) - begin))]
    assume(part not in before + after)
    assert part not in without_secrets(before + part + after)


@given(st.text(st.characters(categories=["Ll"])))
def test_text_without_a_secret_stays_as_it_is(any_text):
    conceal(SECRET)
    assert without_secrets(any_text) == any_text


def test_an_error_that_quotes_a_broker_is_one_short_line_without_secrets():
    conceal(SECRET)
    said = f"bad key {SECRET}\x1b[2J\n" + "x" * 20_000_000
    for error in (MalformedError(said, code="E" * 5_000), DataFileError(said)):
        assert str(error).startswith(f"bad key {CONCEALED}[2J x")
        assert len(str(error).encode()) <= 1_024
        assert str(error).endswith(" bytes more)")
    assert len(MalformedError("", code="E" * 5_000).code) <= 80


def test_a_shown_text_is_cut_after_its_secrets_are_blanked_out():
    conceal(SECRET)
    assert SECRET[:18] not in shown("x" * (2_048 - 40 - 20) + SECRET)
