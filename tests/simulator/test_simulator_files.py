"""The master-file host: HEAD and GET, and a file that grows by a listing during the day."""

import io
import zipfile

import pytest

from observer.simulator.kis.masters import instruments_of
from tests.simulator.simulator_client import at, running
from tests.simulator.test_simulator_masters import REAL_DATA


async def ask(client, method, name):
    return await client.http.request(method, f"{client.simulator.files_url}/common/master/{name}.zip")


def unpacked(answer, name):
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [name]
        return archive.read(name)


async def test_head_returns_the_size_and_stamps_of_get():
    async with running(at(8)) as client:
        head, get = await ask(client, "HEAD", "kospi_code.mst"), await ask(client, "GET", "kospi_code.mst")
        assert head.content == b""
        assert int(head.headers["content-length"]) == len(get.content)
        assert head.headers["etag"] == get.headers["etag"]
        assert head.headers["last-modified"] == "Tue, 17 Nov 2026 13:35:00 GMT"


async def test_both_files_together_list_the_traded_instruments():
    async with running(at(8)) as client:
        kospi = unpacked(await ask(client, "GET", "kospi_code.mst"), "kospi_code.mst")
        kosdaq = unpacked(await ask(client, "GET", "kosdaq_code.mst"), "kosdaq_code.mst")
        listed = [*instruments_of(kospi, "KOSPI"), *instruments_of(kosdaq, "KOSDAQ")]
        assert {i.symbol: i for i in listed} == {i.symbol: i for i in client.simulator.market.instruments}


async def test_from_its_time_on_the_file_has_one_listing_more_and_other_stamps():
    async with running(at(8), listing_appears_at="10:30") as client:
        before = await ask(client, "GET", "kosdaq_code.mst")
        unchanged = await ask(client, "HEAD", "kospi_code.mst")
        await client.move_to(at(10, 30))
        after = await ask(client, "GET", "kosdaq_code.mst")
        assert before.headers["etag"] != after.headers["etag"]
        assert after.headers["last-modified"] == "Wed, 18 Nov 2026 01:30:00 GMT"
        assert (await ask(client, "HEAD", "kospi_code.mst")).headers["etag"] == unchanged.headers["etag"]
        old = set(instruments_of(unpacked(before, "kosdaq_code.mst"), "KOSDAQ"))
        new = set(instruments_of(unpacked(after, "kosdaq_code.mst"), "KOSDAQ"))
        assert old < new
        assert [i.symbol for i in new - old] == [client.simulator.market.instruments[-1].symbol]


async def test_a_file_that_is_not_there_is_not_found():
    async with running(at(8)) as client:
        assert (await ask(client, "HEAD", "nothing_code.mst")).status_code == 404


async def test_the_konex_file_has_records_of_245_bytes_and_its_own_listings():
    async with running(at(8)) as client:
        content = unpacked(await ask(client, "GET", "konex_code.mst"), "konex_code.mst")
        listed = list(instruments_of(content, "KONEX"))
        assert {len(line) for line in content.splitlines()} == {245}
        assert len(listed) == len({i.symbol for i in listed}) >= 30
        assert {i.group for i in listed} == {"ST"}
        assert not {i.symbol for i in listed} & {i.symbol for i in client.simulator.market.instruments}


@pytest.mark.parametrize("code", ["nas", "nys", "ams", "shs", "shi", "szs", "szi", "tse", "hks", "hnx", "hsx"])
async def test_each_exchange_abroad_has_a_file_of_24_columns_named_in_capitals_inside(code):
    async with running(at(8)) as client:
        answer = await ask(client, "GET", f"{code}mst.cod")
        lines = unpacked(answer, f"{code.upper()}MST.COD").decode("cp949").splitlines()
        rows = [line.split("\t") for line in lines]
        assert {len(row) for row in rows} == {24}
        assert {row[2] for row in rows} == {code.upper()}
        assert all(row[5] == row[2] + row[4] and float(row[12]) > 0 for row in rows)
        assert len({row[4] for row in rows}) == len(rows) == 60
        assert {row[8] for row in rows} == ({"1"} if code in ("shi", "szi") else {"2", "3"})


@pytest.mark.realdata
@pytest.mark.skipif(not REAL_DATA.is_dir(), reason="no folder of real samples beside the repository")
async def test_real_files_are_served_byte_for_byte():
    async with running(at(8), data=str(REAL_DATA), listing_appears_at="10:30") as client:
        real = (REAL_DATA / "kis-master" / "2026-01" / "kosdaq_code.mst").read_bytes()
        before = unpacked(await ask(client, "GET", "kosdaq_code.mst"), "kosdaq_code.mst")
        assert len(real) - len(before) == 283
        await client.move_to(at(10, 30))
        assert unpacked(await ask(client, "GET", "kosdaq_code.mst"), "kosdaq_code.mst") == real
        assert (await ask(client, "HEAD", "idxcode.mst")).status_code == 200
        konex = (REAL_DATA / "kis-master" / "2025-06" / "konex_code.mst").read_bytes()
        assert unpacked(await ask(client, "GET", "konex_code.mst"), "konex_code.mst") == konex
        assert len(list(instruments_of(konex, "KONEX"))) == 119
        tokyo = (REAL_DATA / "kis-master" / "2025-06" / "TSEMST.COD").read_bytes()
        assert unpacked(await ask(client, "GET", "tsemst.cod"), "TSEMST.COD") == tokyo
