"""Master files by bytes: a written file reads back unchanged, with the offsets of the real files."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from observer.base.errors import DataFileError
from observer.simulator.kis.files import real_contents, without_newest
from observer.simulator.kis.masters import file_of, instruments_of, made_up_sector_codes, record_of, record_width
from observer.simulator.market.instruments import Instrument, made_up_instruments
from observer.simulator.market.rng import seeded_rng

REAL_DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
LISTED = made_up_instruments(300, "2026-11-18", seeded_rng(3))


def test_the_records_have_the_lengths_of_the_real_ones():
    assert (record_width("KOSPI"), record_width("KOSDAQ")) == (288, 282)
    assert {len(record_of(i)) for i in LISTED if i.exchange == "KOSPI"} == {289}
    assert {len(record_of(i)) for i in LISTED if i.exchange == "KOSDAQ"} == {283}


@pytest.mark.parametrize("exchange", ["KOSPI", "KOSDAQ"])
def test_a_written_file_reads_back_unchanged(exchange):
    listed = [i for i in LISTED if i.exchange == exchange]
    assert list(instruments_of(file_of(listed), exchange)) == listed


@given(price=st.integers(0, 999_999_999), shares=st.integers(0, 10**15 - 1), name=st.text("가나다ABC 1", max_size=20))
def test_any_value_that_fits_survives(price, shares, name):
    changed = msgspec.structs.replace(LISTED[0], base_price=price, listed_shares_thousands=shares, name=name.strip())
    assert list(instruments_of(record_of(changed), changed.exchange)) == [changed]


def test_a_name_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="name does not fit 40 bytes"):
        record_of(msgspec.structs.replace(LISTED[0], name="가" * 21))


def test_a_record_of_another_length_is_refused_with_its_number():
    content = record_of(LISTED[0]) + record_of(LISTED[0])[1:]
    with pytest.raises(ValueError, match=r"record 2: 28[17] bytes"):
        list(instruments_of(content, LISTED[0].exchange))


def test_without_newest_lacks_exactly_the_last_ordinary_share():
    listed = [i for i in LISTED if i.exchange == "KOSDAQ"]
    left = list(instruments_of(without_newest(file_of(listed)), "KOSDAQ"))
    last = [i for i in listed if i.ordinary][-1]
    assert left == [i for i in listed if i != last]


def test_a_folder_without_master_files_is_named(tmp_path):
    with pytest.raises(DataFileError, match=r"kospi_code\.mst and no kosdaq_code\.mst"):
        real_contents(tmp_path)


@pytest.mark.realdata
@pytest.mark.skipif(not REAL_DATA.is_dir(), reason="no folder of real samples beside the repository")
def test_real_files_are_read_whole():
    contents = real_contents(REAL_DATA)
    kospi = {i.symbol: i for i in instruments_of(contents["kospi_code.mst"], "KOSPI")}
    kosdaq = list(instruments_of(contents["kosdaq_code.mst"], "KOSDAQ"))
    assert (len(kospi), len(kosdaq)) == (2_568, 1_803)
    samsung: Instrument = kospi["005930"]
    assert (samsung.isin, samsung.name, samsung.group) == ("KR7005930003", "삼성전자", "ST")
    assert samsung.ordinary
    assert samsung.market_cap_100m > 1_000_000
    # Market cap, price and shares are three fields that have to agree; one byte off and they do not.
    agreeing = sum(
        abs(i.market_cap_100m * 10**8 - i.base_price * i.listed_shares_thousands * 1_000)
        <= 0.02 * i.market_cap_100m * 10**8 + 10**8 + 1_000 * i.base_price
        for i in kosdaq
    )
    assert agreeing > 0.9 * len(kosdaq)


def test_made_up_sector_codes_have_the_records_of_the_real_file():
    records = made_up_sector_codes().split(b"\n")
    assert records.pop() == b""
    assert {len(record) for record in records} == {45}
    assert len({record[:5] for record in records}) == len(records) == 40
