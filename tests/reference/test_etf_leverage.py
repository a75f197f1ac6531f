"""The leverage multiple read from KIS's category words and from ETF names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observer.reference.etf.model import leverage_of, leverage_of_name

WORDS = {
    "일반": 1.0,
    "일반 (1)": 1.0,
    "2X 레버리지": 2.0,
    "2x 레버리지": 2.0,
    "2X레버리지": 2.0,
    "1.5X 레버리지": 1.5,
    "레버리지": 2.0,
    "레버리지 (2)": 2.0,
    "2배 레버리지": 2.0,
    "1X 인버스": -1.0,
    "2X 인버스": -2.0,
    "인버스": -1.0,
    "인버스 (-2)": -2.0,
    "인버스 (-1X)": -1.0,
    "": None,
    "기타": None,
    "0X 레버리지": None,
    "레버리지 인버스": None,
    "커버드콜 인버스": None,
}

NAMES = {
    "KODEX 200": 1.0,
    "KODEX 레버리지": 2.0,
    "KODEX 인버스": -1.0,
    "KODEX 200선물인버스2X": -2.0,
    "TIGER 200선물인버스2X": -2.0,
    "삼성 인버스 2X WTI원유 선물 ETN": -2.0,
    "신한 레버리지 천연가스 선물 ETN(H)": 2.0,
    "N2 3X 레버리지 나스닥 100 ETN(H)": 3.0,
    "메리츠 인버스 국채30년 ETN": -1.0,
    "KB 레버리지 S&P 500 선물 ETN(H)": 2.0,
    "ACE 일본TOPIX레버리지(H)": 2.0,
    "KODEX 코스닥150": 1.0,
    "N2 인버스 레버리지 금 선물 ETN(H)": -2.0,
    "TIGER 미국S&P500배당귀족": 1.0,
    "신한 블룸버그 2X 천연가스 선물 ETN": 2.0,
    "미래에셋 -2X 홍콩H 선물 ETN(H)": -2.0,
    "미래에셋 1.5X 천연가스 선물 ETN": 1.5,
    "미래에셋-0.5X S&P500 VIX S/T선물 ETN(H)B": -0.5,
    "하나 Solactive 2X US Tech Top 10 ETN(H)": 2.0,
}


@pytest.mark.parametrize("words", WORDS)
def test_the_text_of_a_source_yields_the_leverage(words):
    assert leverage_of(words) == WORDS[words]


@pytest.mark.parametrize("name", NAMES)
def test_the_name_of_an_etf_yields_the_leverage(name):
    assert leverage_of_name(name) == NAMES[name]


PIECES = st.sampled_from(["일반", "레버리지", "인버스", "0", "2", "1.5", "X", "배", "-", "+", "(", ")", " ", "KODEX"])
PHRASES = st.text() | st.lists(PIECES, max_size=6).map("".join)


@given(PHRASES)
def test_any_text_yields_a_leverage_or_none(words):
    multiple = leverage_of(words)
    assert multiple != 0
    assert (multiple is None) or (multiple < 0) == ("인버스" in words)
    assert leverage_of_name(words) != 0


@given(st.integers(1, 9), st.sampled_from(["X ", "x ", "X", "배 "]))
def test_inverse_is_leverage_with_the_other_sign(multiple, sign):
    assert leverage_of(f"{multiple}{sign}레버리지") == multiple
    assert leverage_of(f"{multiple}{sign}인버스") == -multiple
