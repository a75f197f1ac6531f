"""A FinanceDatabase snapshot: read as it is published, downloaded whole or not at all."""

import asyncio
import bz2

import pytest
from aiohttp import web

from observer.base.errors import BadRequestError, DataFileError, TransportError
from observer.reference.sectors.finance_database import FinanceDatabase, download, read_known_sectors
from observer.reference.sectors.model import Security
from tests.brokers.stand_ins import serving

HEAD = "symbol,name,summary,currency,sector,industry_group,industry,exchange,market,country"
WHARF = (
    '0004.HK,"Wharf (Holdings) Limited","Owns, and rents",HKD,Real Estate,Real Estate,Real Estate Management,HKG,,HK'
)
NOBODY = "0001.HK,Nobody,,HKD,,,,HKG,,HK"
CONTENT = f"{HEAD}\n{WHARF}\n{NOBODY}\n".encode()


def written(tmp_path, content, name="snapshot.csv"):
    path = tmp_path / name
    path.write_bytes(content)
    return path


def findings(path, *securities):
    async def all_of_them():
        source = FinanceDatabase(path)
        return [finding async for portion in source.findings("HK", securities) for finding in portion]

    return asyncio.run(all_of_them())


@pytest.mark.parametrize(("name", "packed"), [("s.csv", CONTENT), ("s.bz2", bz2.compress(CONTENT))])
def test_a_snapshot_is_read_plain_or_packed_and_rows_without_a_sector_are_left_out(tmp_path, name, packed):
    known = read_known_sectors(written(tmp_path, packed, name))
    assert {symbol: (row.said, row.sector, row.industry) for symbol, row in known.items()} == {
        "0004.HK": ("Real Estate", "Real Estate", "Real Estate Management")
    }


def test_a_file_with_the_sector_names_of_nasdaq_is_read(tmp_path):
    content = b"symbol,name,sector,industry_group,industry,exchange\nAAPL,Apple,Technology,,Computers,nasdaq\n"
    content += b"JPM,JPMorgan,Finance,,Major Banks,nyse\nX,Some,Miscellaneous,,,nyse\n"
    known = read_known_sectors(written(tmp_path, content))
    assert [row.sector for row in known.values()] == ["Information Technology", "Financials", None]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"ticker,name\nA,B\n", "no column symbol or sector"),
        (b"symbol,sector\nA,Astrology\n", "no vocabulary"),
        (b"symbol,sector\nA,\xff\xfe\n", "cannot read"),
    ],
)
def test_a_file_that_is_not_a_snapshot_is_refused_with_the_reason(tmp_path, content, reason):
    with pytest.raises(DataFileError, match=reason):
        read_known_sectors(written(tmp_path, content))


def test_a_damaged_archive_is_refused(tmp_path):
    with pytest.raises(DataFileError, match="cannot read"):
        read_known_sectors(written(tmp_path, bz2.compress(CONTENT)[:-9], "s.bz2"))


def test_a_download_goes_to_no_other_host(tmp_path):
    heard = []

    async def scenario():
        async def hear(request):
            heard.append(request)
            return web.Response(body=CONTENT)

        async def redirect(_request):
            return web.Response(status=302, headers={"Location": f"http://{other}/snapshot.csv"})

        async with serving(web.get("/snapshot.csv", hear)) as other, serving(web.get("/s.csv", redirect)) as address:
            await asyncio.to_thread(download, tmp_path / "s.csv", f"http://{address}/s.csv")

    with pytest.raises(BadRequestError, match="302"):
        asyncio.run(scenario())
    assert heard == []


def test_words_of_a_snapshot_are_short_and_hold_no_control_characters(tmp_path):
    row = f"0004.HK,x,,HKD,Real Estate,,\x1b[2J{'y' * 5_000},HKG,,HK"
    [known] = read_known_sectors(written(tmp_path, f"{HEAD}\n{row}\n".encode())).values()
    assert known.industry.startswith("[2Jyyy")
    assert len(known.industry) <= 200


def test_a_stock_is_found_by_its_yahoo_symbol(tmp_path):
    path = written(tmp_path, CONTENT)
    [finding] = findings(path, Security("HK", "SEHK", "00004", "WHARF"), Security("HK", "SEHK", "00001", "NOBODY"))
    assert (finding.security.symbol, finding.sector, finding.is_sure) == ("00004", "Real Estate", True)


def fetch(handler, destination):
    async def body():
        async with serving(web.get("/equities.bz2", handler)) as address:
            return await asyncio.to_thread(download, destination, f"http://{address}/equities.bz2")

    return asyncio.run(body())


def test_a_download_replaces_the_old_snapshot(tmp_path):
    destination = written(tmp_path, b"old", "s.bz2")

    async def handler(request):
        return web.Response(body=bz2.compress(CONTENT))

    assert fetch(handler, destination) == {"Real Estate": 1}
    assert bz2.decompress(destination.read_bytes()) == CONTENT


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [(404, b"", BadRequestError), (200, b"<html>", DataFileError), (200, bz2.compress(CONTENT)[:40], DataFileError)],
)
def test_a_download_that_is_not_a_snapshot_leaves_the_old_one(tmp_path, status, body, error):
    destination = written(tmp_path, b"old", "s.bz2")

    async def handler(request):
        return web.Response(status=status, body=body)

    with pytest.raises(error):
        fetch(handler, destination)
    assert destination.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [destination]


def test_a_download_that_is_cut_off_leaves_the_old_one(tmp_path):
    destination = written(tmp_path, b"old", "s.bz2")

    async def handler(request):
        response = web.StreamResponse(headers={"content-length": "100000"})
        await response.prepare(request)
        await response.write(b"BZh9")
        request.transport.abort()
        return response

    with pytest.raises(TransportError):
        fetch(handler, destination)
    assert destination.read_bytes() == b"old"
