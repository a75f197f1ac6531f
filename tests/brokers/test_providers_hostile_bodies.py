"""What a host sends is bounded in memory, however it is packed, and no other host gets the keys."""

import asyncio
import contextlib
import uuid
import zipfile
import zlib
from datetime import date
from random import Random

import msgspec
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from observer.base.clock import ManualClock
from observer.base.errors import BadRequestError, DataFileError, MalformedError, ProviderError, TransportError
from observer.brokers.bodies import (
    BODY_BYTES_MAX,
    MASTER_FILE_BYTES_MAX,
    OBJECTS_MAX,
    BodyReader,
    decode,
    only_member,
)
from observer.brokers.http import Request, open_client
from observer.brokers.kis.issuing import KisIssuing
from observer.brokers.kis.listings import BAD_LINES_MAX, RECORDS_MAX, parse_listings
from observer.brokers.kis.master_files import KisMasterFiles
from observer.brokers.krx.client import KrxOpenApi, open_krx_client
from observer.brokers.settings import RestSettings
from observer.simulator.kis.masters import file_of
from observer.simulator.market.instruments import made_up_instruments
from tests.brokers.hostile import MB, gzip_bomb, gzipped, measured, zip_of
from tests.brokers.stand_ins import counted, pipeline_to, serving

SETTINGS = RestSettings(timeout_s=60.0, attempts_max=3)
ENOUGH = 48 * MB  # three times the bound: the body, a copy of it, and what a library keeps


class Value(msgspec.Struct):
    value: int


def answering(body, *, encoding=None, status=200, location=None):
    async def handle(_request):
        headers = {name: value for name, value in (("Content-Encoding", encoding), ("Location", location)) if value}
        return web.Response(status=status, body=body, headers=headers)

    return handle


async def endless(request):
    """A body without a length that goes on for four times the bound."""
    response = web.StreamResponse()
    await response.prepare(request)
    try:
        for _ in range(4 * BODY_BYTES_MAX // MB):
            await response.write(bytes(MB))
    except ConnectionError:
        pass  # the client has had enough
    return response


def called(handle, *, peak=None):
    """The result of a call, or its error; with the number of attempts."""

    async def scenario():
        account = uuid.uuid4().hex
        async with pipeline_to(web.get("/ask", handle), settings=SETTINGS, account=account) as (pipeline, _):
            try:
                result = (await pipeline.call_page(Request("ask", "GET", "/ask"), "bulk", Value)).body
            except ProviderError as error:
                result = error
            return result, counted(account)["ask", "sent"]

    if peak is None:
        return asyncio.run(scenario())
    with measured() as memory:
        result = asyncio.run(scenario())
    assert memory.peak < peak
    return result


# --- bodies --------------------------------------------------------------------------------------------------


def test_a_packed_body_is_unpacked():
    assert called(answering(gzipped(b'{"value": 7}'), encoding="gzip")) == (Value(7), 1)


def test_a_gzip_bomb_is_refused_at_the_bound_and_not_asked_for_again():
    bomb = gzip_bomb()
    error, attempts = called(answering(bomb, encoding="gzip"), peak=ENOUGH)
    assert isinstance(error, MalformedError)
    assert "a body of more than 16,777,216 bytes" in str(error)
    assert attempts == 1


def test_a_body_without_an_end_is_refused_at_the_bound():
    error, _ = called(endless, peak=2 * ENOUGH)  # the server's own portions are in this process, too
    assert isinstance(error, MalformedError)


@pytest.mark.parametrize("encoding", ["br", "zstd", "deflate", "gzip, gzip", "x" * 5_000])
def test_an_encoding_that_was_not_asked_for_is_refused(encoding):
    error, attempts = called(answering(b'{"value": 7}', encoding=encoding))
    assert isinstance(error, MalformedError)
    assert (attempts, len(str(error)) <= 1_024) == (1, True)


def test_a_body_of_countless_objects_is_refused_before_they_are_made():
    body = b'{"value": 1, "rows": [' + b"{}," * 5_000_000 + b"{}]}"
    with measured() as memory, pytest.raises(MalformedError, match=f"more than {OBJECTS_MAX:,} objects"):
        decode(body, Value, "ask")
    assert memory.peak < MB


def test_a_refusal_of_megabytes_becomes_one_short_line():
    body = msgspec.json.encode({"rt_cd": "1", "msg_cd": "X" * 9_000, "msg1": "\x1b[2J\r\n" + "z" * 9_000_000})
    error, _ = called(answering(body, status=400))
    assert len(str(error)) <= 1_024
    assert str(error).isprintable()
    assert len(error.code) <= 80


def test_a_bomb_is_refused_by_the_other_clients_too():
    bomb = answering(gzip_bomb(), encoding="gzip")

    async def scenario():
        routes = web.post("/oauth2/tokenP", bomb), web.get("/svc/apis/etp/etf_bydd_trd", bomb)
        async with serving(*routes) as address:
            async with open_client(f"http://{address}", SETTINGS) as client:
                with pytest.raises(MalformedError):
                    await KisIssuing(client, ManualClock(1)).issue_token("key", "secret")
            async with open_krx_client(f"http://{address}", SETTINGS) as client:
                with pytest.raises(MalformedError):
                    await KrxOpenApi(client, "key").etf_list(date(2026, 11, 18))

    with measured() as memory:
        asyncio.run(scenario())
    assert memory.peak < ENOUGH


@given(st.binary(max_size=300), st.lists(st.integers(1, 40)), st.booleans(), st.integers(0, 8))
def test_a_body_is_the_same_in_whatever_portions_it_comes(content, lengths, is_packed, missing):
    sent = gzipped(content) if is_packed else content
    sent = sent[: len(sent) - missing]
    reader = BodyReader("gzip" if is_packed else "", "ask")
    for length in lengths:
        reader.add(sent[:length])
        sent = sent[length:]
    reader.add(sent)
    if is_packed and missing:
        with pytest.raises(TransportError):
            reader.whole()
    else:
        assert reader.whole() == content[: len(content) - missing]


@given(
    st.lists(st.binary(max_size=200)), st.sampled_from(["", "gzip", "identity", "x-gzip", "br"]), st.integers(0, 500)
)
def test_any_bytes_are_a_body_or_one_of_our_errors(portions, encoding, bytes_max):
    try:
        reader = BodyReader(encoding, "ask", bytes_max)
        for portion in portions:
            reader.add(portion)
        assert len(reader.whole()) <= bytes_max
    except (MalformedError, TransportError):
        pass


# --- redirects -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_an_error_and_the_other_host_hears_nothing(status):
    heard = []

    async def hear(request):
        heard.append(dict(request.headers))
        return web.Response(body=b'{"value": 7}')

    async with serving(web.route("*", "/{any:.*}", hear)) as other:
        redirect = answering(b"", status=status, location=f"http://{other}/ask")
        error, attempts = await asyncio.to_thread(called, redirect)
    assert isinstance(error, BadRequestError)
    assert (attempts, heard) == (1, [])


# --- master files ----------------------------------------------------------------------------------------------


def downloaded(body, tmp_path):
    async def scenario():
        async with (
            serving(web.get("/common/master/kospi_code.mst.zip", answering(body))) as address,
            open_client(f"http://{address}", SETTINGS) as client,
        ):
            await KisMasterFiles(client).download("KOSPI", tmp_path / "kospi_code.mst")

    with measured() as memory, pytest.raises(DataFileError) as caught:
        asyncio.run(scenario())
    assert not (tmp_path / "kospi_code.mst").exists()
    assert memory.peak < 36 * MB
    return str(caught.value)


def test_a_zip_of_more_than_the_bound_is_refused(tmp_path):
    assert "too many" in downloaded(zip_of(b"\n" * (40 * MB)), tmp_path)


def test_a_zip_that_understates_its_size_is_refused_within_the_bound(tmp_path):
    assert downloaded(zip_of(bytes(40 * MB), stated_bytes=100), tmp_path)


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_a_zip_of_another_packing_is_refused_before_it_is_unpacked(tmp_path, method):
    assert "deflate is expected" in downloaded(zip_of(bytes(MB), method=method), tmp_path)


@given(st.binary(max_size=400))
def test_any_bytes_are_a_zip_of_one_file_or_a_file_error(content):
    with pytest.raises(DataFileError):
        only_member(content, "KOSPI")


def test_a_broken_zip_is_a_file_error_wherever_it_is_broken():
    whole = zip_of(b"a master file\n" * 20)
    rng = Random(1)
    for _ in range(2_000):
        broken = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        with contextlib.suppress(DataFileError):
            assert len(only_member(bytes(broken), "KOSPI")) <= MASTER_FILE_BYTES_MAX


@pytest.mark.parametrize("exchange", ["KOSPI", "KOSDAQ", "KONEX", "IDXCODE", "NASD", "SEHK"])
@pytest.mark.parametrize("line", [b"", b"\r", b"\t" * 23, b"\xff", b"x" * 5_000])
def test_a_file_of_bad_lines_is_given_up_after_a_hundred(exchange, line):
    lines = max(2 * BAD_LINES_MAX, MASTER_FILE_BYTES_MAX // 128 // (len(line) + 1))
    content = (line + b"\n") * lines
    with measured() as memory, pytest.raises(DataFileError, match=f"more than {BAD_LINES_MAX} lines are no records"):
        parse_listings(exchange, content)
    assert memory.peak < 6 * len(content)


def test_a_hundred_bad_lines_are_kept_and_none_is_longer_than_any_record():
    korean = made_up_instruments(100, "2026-11-18", Random)
    good = file_of(each for each in korean if each.exchange == "KOSPI")
    listings, bad = parse_listings("KOSPI", good + (b"x" * 9_000 + b"\n") * BAD_LINES_MAX)
    assert len(listings) == good.count(b"\n")
    assert [len(line.content) for line in bad] == [4_096] * BAD_LINES_MAX


def test_a_file_of_more_records_than_any_exchange_has_is_given_up():
    lines = b"".join(b"%05d%-40s\n" % (number % 100_000, b"x") for number in range(RECORDS_MAX))
    with pytest.raises(DataFileError, match="more than 100,000 records"):
        parse_listings("IDXCODE", lines + b"A0000%-40s\n" % b"x")


def test_control_characters_are_taken_out_of_the_names_of_a_master_file():
    korean = made_up_instruments(100, "2026-11-18", Random)
    line = file_of(each for each in korean if each.exchange == "KOSPI").split(b"\n")[0]
    listings, bad = parse_listings("KOSPI", line[:21] + b"\x1b]0;x\x07\x00\x9c".ljust(40)[:40] + line[61:] + b"\n")
    assert [listing.name for listing in listings] in ([], ["]0;x"])
    clean, _ = parse_listings("KOSPI", line[:21] + b"\x1b]0;x\x07\x00".ljust(40) + line[61:] + b"\n")
    assert [listing.name for listing in clean] == ["]0;x"]
    assert len(listings) + len(bad) == 1


def test_a_packing_that_ends_in_the_middle_is_asked_for_again():
    body = gzipped(b'{"value": 7}')
    error, attempts = called(answering(body[:-4], encoding="gzip"))
    assert isinstance(error, TransportError)
    assert attempts == SETTINGS.attempts_max


def test_bytes_that_are_not_packed_as_they_say_are_asked_for_again():
    with pytest.raises(TransportError):
        BodyReader("gzip", "ask").add(zlib.compress(b"no gzip"))
