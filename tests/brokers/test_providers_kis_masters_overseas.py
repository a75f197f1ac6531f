"""Master files of the exchanges abroad: every line is a record or a bad line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observer.base.errors import DataFileError
from observer.brokers.kis.listings import file_name, parse_listings, unknown_tail
from observer.reference.listings.model import Listing

HONG_KONG = (
    "HK\t12\tHKS\t홍콩\t00115\tHKS00115\t균호그룹\tGRAND FIELD GP\t2\tHKD\t3\t\t3.800\t2000\t2000\t930\t1610\tN\t\t630"
    "\t0\t1\t   \t   "
)
SYMBOL, KIND, PRICE, RECEIPT, SECTOR = 4, 8, 12, 17, 19


def line(**columns):
    """The real record with some columns changed, by their names above."""
    fields = HONG_KONG.split("\t")
    for name, text in columns.items():
        fields[globals()[name]] = text
    return "\t".join(fields)


def parse(*lines):
    return parse_listings("SEHK", "".join(f"{each}\n" for each in lines).encode("cp949"))


def test_a_real_record_is_read_column_by_column():
    ([record], bad) = parse(HONG_KONG)
    assert bad == []
    assert record == Listing(
        exchange="SEHK",
        symbol="00115",
        name="균호그룹",
        english_name="GRAND FIELD GP",
        base_price=3.8,
        currency="HKD",
        sector_code="630",
        security_type="stock",
        realtime_symbol="HKS00115",
        etp_kind="",
        **dict.fromkeys(("isin", "group"), ""),
        **dict.fromkeys(("market_cap", "listed_shares", "listed_on")),
        **dict.fromkeys(("suspended", "administrative", "preferred", "spac"), False),
    )


@pytest.mark.parametrize(("code", "kind"), [("1", "index"), ("2", "stock"), ("3", "fund"), ("4", "warrant")])
def test_the_security_type_has_a_name(code, kind):
    assert parse(line(KIND=code))[0][0].security_type == kind


def test_hanoi_is_hase_and_ho_chi_minh_is_vnse():
    assert (file_name("HASE"), file_name("VNSE")) == ("hnxmst.cod", "hsxmst.cod")


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (HONG_KONG + "\t", "25 columns"),
        (HONG_KONG.replace("HKS\t", "TSE\t", 1), "file of HKS"),
        (line(SYMBOL=""), "not a symbol"),
        (line(KIND="9"), "security type"),
        (line(PRICE="nan"), "no price"),
        (line(PRICE="1e400"), "no price"),
        (line(PRICE="-1"), "no price"),
        (line(RECEIPT="X"), "Y or N"),
        (line(SECTOR="63"), "sector code"),
        (line(SECTOR="６３０"), "sector code"),
    ],
)
def test_a_line_that_is_no_record_is_kept_with_its_number_and_reason(broken, reason):
    records, [bad] = parse(HONG_KONG, broken)
    assert len(records) == 1
    assert bad.number == 2
    assert reason in bad.reason
    assert bad.content == broken.encode("cp949")


def test_a_symbol_that_comes_again_is_a_bad_line():
    records, [bad] = parse(HONG_KONG, HONG_KONG)
    assert (len(records), bad.number) == (1, 2)


def test_lines_may_end_with_carriage_returns_and_the_last_one_with_nothing():
    records, bad = parse_listings("SEHK", f"{HONG_KONG}\r\n{line(SYMBOL='00116')}".encode("cp949"))
    assert ([record.symbol for record in records], bad) == (["00115", "00116"], [])


def test_an_exchange_without_a_file_is_refused():
    with pytest.raises(DataFileError, match="LSE"):
        parse_listings("LSE", b"")


@given(st.data())
def test_every_line_of_any_file_is_either_a_record_or_a_bad_line(data):
    content = bytearray(f"{HONG_KONG}\n{line(SYMBOL='00116')}\n".encode("cp949"))
    for _ in range(data.draw(st.integers(1, 6))):
        index = data.draw(st.integers(0, len(content) - 1))
        content[index : index + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    records, bad = parse_listings("SEHK", bytes(content))
    assert len(records) + len(bad) == len([*bytes(content).removesuffix(b"\n").split(b"\n")]) * bool(content)


def test_a_column_that_the_broker_appends_leaves_the_known_ones_readable():
    lines = [line(SYMBOL=symbol) for symbol in ("00115", "00116", "00117")]
    content = "\n".join(f"{each}\t{number}" for number, each in enumerate(lines)).encode("cp949")
    assert parse_listings("SEHK", content) == parse(*lines)
    assert unknown_tail("SEHK", content) == "25 columns, of which 24 are known"


def test_a_sector_code_has_four_places_where_the_broker_uses_them():
    ([record], []) = parse(line(SECTOR="0630"))
    assert record.sector_code == "0630"
