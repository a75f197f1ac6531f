"""The master file parser: bytes are sliced, units are applied, and every line is accounted for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observer.brokers.kis.listings import parse_listings, unknown_tail

# Offsets in the record, counted from KIS's layout (docs/kis.md#master-files) and not taken from the parser.
FIELDS = ("length", "base", "suspended", "administrative", "listed_on", "shares", "preferred", "spac", "cap")
INDICES = {
    "KOSPI": dict(zip(FIELDS, (288, 102, 121, 123, 166, 174, 219, 90, 273), strict=True)),
    "KOSDAQ": dict(zip(FIELDS, (282, 97, 116, 118, 161, 169, 214, 85, 267), strict=True)),
    "KONEX": dict(zip(FIELDS, (245, 63, 82, 84, 127, 135, 180, None, 233), strict=True)),
}


def line(exchange, symbol="005930", name="삼성전자", **values):
    indices = INDICES[exchange]
    record = bytearray(b" " * indices["length"])
    record[0:9] = symbol.encode().ljust(9)
    record[9:21] = b"KR7005930003"
    record[21:61] = name.encode("cp949").ljust(40)
    record[61:63] = b"ST"
    defaults = {
        "base": "000079700",
        "suspended": "N",
        "administrative": "N",
        "listed_on": "19750611",
        "shares": "000000005919637",
        "preferred": "0",
        "spac": "N",
        "cap": "004717951",
    }
    for field, text in {**defaults, **values}.items():
        if indices[field] is not None:
            record[indices[field] : indices[field] + len(text)] = text.encode()
    return bytes(record)


def one(exchange, **values):
    listings, bad = parse_listings(exchange, line(exchange, **values) + b"\n")
    assert bad == []
    return listings[0]


@pytest.mark.parametrize("exchange", INDICES)
def test_a_record_becomes_a_listing_with_units_applied(exchange):
    listing = one(exchange)
    assert (listing.exchange, listing.symbol, listing.name) == (exchange, "005930", "삼성전자")
    assert (listing.isin, listing.group, listing.listed_on) == ("KR7005930003", "ST", "1975-06-11")
    assert listing.base_price == 79_700.0
    assert listing.listed_shares == 5_919_637_000.0
    assert listing.market_cap == 471_795_100_000_000.0
    assert [listing.suspended, listing.administrative, listing.preferred, listing.spac] == [False] * 4


@pytest.mark.parametrize("exchange", INDICES)
@pytest.mark.parametrize("flag", ["suspended", "administrative"])
def test_a_flag_is_read_where_it_stands(exchange, flag):
    listing = one(exchange, **{flag: "Y"})
    assert [name for name in ("suspended", "administrative", "spac") if getattr(listing, name)] == [flag]


@pytest.mark.parametrize("exchange", ["KOSPI", "KOSDAQ"])
def test_a_spac_is_known_by_its_flag(exchange):
    assert one(exchange, spac="Y").spac


@pytest.mark.parametrize("code", ["1", "2"])
def test_every_kind_of_preferred_share_is_preferred(code):
    assert one("KOSPI", preferred=code).preferred


def test_short_codes_may_hold_letters():
    assert one("KOSPI", symbol="F70100030").symbol == "F70100030"


def test_blanks_are_unknown_and_a_base_price_of_zero_is_none():
    listing = one("KOSPI", base="000000000", shares=" " * 15, cap=" " * 9, listed_on="00000000")
    assert (listing.base_price, listing.listed_shares, listing.market_cap, listing.listed_on) == (None,) * 4


@pytest.mark.parametrize(
    "wrong",
    [{"symbol": ""}, {"symbol": "00 5930"}, {"base": "12x45"}, {"suspended": "?"}, {"listed_on": "20261345"}],
    ids=str,
)
def test_a_line_that_is_no_record_is_kept_with_number_and_reason(wrong):
    content = line("KOSPI") + b"\n" + line("KOSPI", **{"symbol": "000660", **wrong}) + b"\n"
    listings, bad = parse_listings("KOSPI", content)
    assert [listing.symbol for listing in listings] == ["005930"]
    assert [(item.number, item.content) for item in bad] == [(2, content.split(b"\n")[1])]
    assert bad[0].reason


def test_a_line_of_another_length_is_no_record():
    _, bad = parse_listings("KOSPI", line("KOSPI")[:-1] + b"\n\n")
    assert [item.number for item in bad] == [1, 2]


def test_broken_letters_are_no_name():
    _, bad = parse_listings("KOSPI", line("KOSPI").replace("삼".encode("cp949"), b"\xff\xff"))
    assert len(bad) == 1


def test_a_symbol_that_comes_again_is_not_taken_twice():
    listings, bad = parse_listings("KONEX", line("KONEX") + b"\n" + line("KONEX", name="Other") + b"\n")
    assert [listing.name for listing in listings] == ["삼성전자"]
    assert [item.number for item in bad] == [2]


def test_the_last_line_needs_no_end_and_an_empty_file_has_no_lines():
    assert len(parse_listings("KOSPI", line("KOSPI"))[0]) == 1
    assert parse_listings("KOSPI", b"") == ([], [])


@given(st.lists(st.binary(max_size=300)), st.sampled_from([*INDICES]))
def test_every_line_is_either_a_listing_or_a_bad_line(lines, exchange):
    content = b"\n".join(lines)
    listings, bad = parse_listings(exchange, content)
    assert len(listings) + len(bad) == content.count(b"\n") + (content != b"" and not content.endswith(b"\n"))


@pytest.mark.parametrize("exchange", INDICES)
def test_a_field_that_the_broker_appends_to_every_record_leaves_the_known_ones_readable(exchange):
    lines = [line(exchange, symbol=symbol) for symbol in ("005930", "000660", "035420")]
    longer = [each + b"Y" for each in lines]
    assert parse_listings(exchange, b"\n".join(longer)) == parse_listings(exchange, b"\n".join(lines))
    length = INDICES[exchange]["length"]
    assert unknown_tail(exchange, b"\n".join(longer)) == f"{length + 1} bytes a record, of which {length} are known"
    assert unknown_tail(exchange, b"\n".join(lines)) == ""


@pytest.mark.parametrize("exchange", INDICES)
def test_one_longer_line_is_damage_and_no_appended_field(exchange):
    content = b"\n".join([line(exchange), line(exchange, symbol="000660") + b"Y", line(exchange, symbol="035420")])
    listings, [bad] = parse_listings(exchange, content)
    assert [listing.symbol for listing in listings] == ["005930", "035420"]
    assert (bad.number, unknown_tail(exchange, content)) == (2, "")


def test_a_record_of_the_sector_codes_may_grow_too():
    content = "\n".join(f"{code}{'전기전자'.ljust(36)}Y" for code in ("00005", "00006", "10007")).encode("cp949")
    listings, bad = parse_listings("IDXCODE", content)
    assert ([listing.name for listing in listings], bad) == (["전기전자"] * 3, [])
    assert unknown_tail("IDXCODE", content) == "46 bytes a record, of which 45 are known"


def test_two_records_in_a_line_are_damage_and_no_appended_field():
    content = b"\n".join(line("KOSPI", symbol=f"{n:06}") + line("KOSPI", symbol=f"{n + 1:06}") for n in range(0, 8, 2))
    listings, bad = parse_listings("KOSPI", content)
    assert (listings, len(bad), unknown_tail("KOSPI", content)) == ([], 4, "")
