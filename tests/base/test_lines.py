"""The id of a stock's line at a venue (observer/base/lines.py)."""

import string

from hypothesis import assume, given
from hypothesis import strategies as st

from observer.base.lines import Line, line_id, line_of, stock_of, venue_of

SYMBOLS = st.text(string.ascii_uppercase + string.digits, min_size=1, max_size=9)
VENUES = st.text(string.ascii_uppercase, min_size=1, max_size=5)


def test_a_stock_at_the_main_venue_has_its_own_symbol_as_id():
    assert line_id("005930", "KRX", "KRX") == "005930"
    assert line_of("005930") == Line("005930", "")


def test_a_stock_at_another_venue_has_the_venue_in_its_id():
    assert line_id("005930", "NXT", "KRX") == "005930.NXT"
    assert line_of("005930.NXT") == Line("005930", "NXT")


def test_no_venue_means_the_main_venue():
    assert line_id("005930", "", "KRX") == "005930"
    assert venue_of("005930", "KRX") == "KRX"


@given(SYMBOLS, VENUES, VENUES)
def test_an_id_states_its_stock_and_its_venue(symbol, venue, main):
    found = line_id(symbol, venue, main)
    assert stock_of(found) == line_of(found).symbol == symbol
    assert venue_of(found, main) == venue
    assert line_of(found).id == found


@given(SYMBOLS, SYMBOLS, VENUES, VENUES, VENUES)
def test_two_lines_never_share_an_id(symbol, other, venue, elsewhere, main):
    assume((symbol, venue) != (other, elsewhere))
    assert line_id(symbol, venue, main) != line_id(other, elsewhere, main)
