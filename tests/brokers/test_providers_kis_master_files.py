"""Master file downloads: a whole file or the one that was there."""

import asyncio
import contextlib
import io
import zipfile

import pytest
from aiohttp import web

from observer.base.errors import BadRequestError, DataFileError, MaintenanceError, TransportError
from observer.brokers.http import open_client
from observer.brokers.kis.master_files import KisMasterFiles
from observer.brokers.settings import RestSettings
from tests.brokers.stand_ins import serving


def zipped(*members):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in members:
            packed.writestr(name, content)
    return archive.getvalue()


CONTENT = b"a master file\n" * 1_000
WHOLE = zipped(("kospi_code.mst", CONTENT))


def asked(handle, ask, **limits):
    async def scenario():
        async with (
            serving(web.route("*", "/common/master/kospi_code.mst.zip", handle)) as address,
            open_client(f"http://{address}", RestSettings(timeout_s=60.0)) as client,
        ):
            return await ask(KisMasterFiles(client, **limits))

    return asyncio.run(scenario())


def test_a_host_that_sends_a_byte_now_and_then_does_not_hold_a_download(tmp_path):
    async def drip(request):
        response = web.StreamResponse(headers={"content-length": str(len(WHOLE))})
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):  # the client has had enough
            for number in range(len(WHOLE)):
                await response.write(WHOLE[number : number + 1])
                await asyncio.sleep(0.02)
        return response

    destination = tmp_path / "kospi_code.mst"
    with pytest.raises(TransportError, match=r"master_file KOSPI: no end within 0\.2 s"):
        asked(drip, lambda files: files.download("KOSPI", destination), within_s=0.2)
    assert not destination.exists()


def answering(body, status=200):
    async def handle(request):
        headers = {"last-modified": "Fri, 20 Nov 2026 08:10:00 GMT", "etag": '"1"'}
        return web.Response(status=status, body=body, headers=headers)

    return handle


def downloaded(tmp_path, handle):
    destination = tmp_path / "kospi_code.mst"
    destination.write_bytes(b"the old one")
    asked(handle, lambda files: files.download("KOSPI", destination))
    return destination.read_bytes()


def test_a_stamp_comes_without_a_download():
    methods = []

    async def handle(request):
        methods.append(request.method)
        return await answering(WHOLE)(request)

    stamp = asked(handle, lambda files: files.stamp("KOSPI"))
    assert methods == ["HEAD"]
    assert (stamp.size_bytes, stamp.etag) == (len(WHOLE), '"1"')
    assert stamp.last_modified.startswith("Fri")


@pytest.mark.parametrize("name", ["kospi_code.mst", "KOSPI_CODE.MST"])
def test_a_whole_zip_replaces_the_file_whatever_its_member_is_called(tmp_path, name):
    assert downloaded(tmp_path, answering(zipped((name, CONTENT)))) == CONTENT


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", WHOLE[:-30], WHOLE[:60] + b"\0\0\0\0" + WHOLE[64:], zipped(), zipped(("a", b"1"), ("b", b"2"))],
    ids=["empty", "a page", "cut", "damaged", "no member", "two members"],
)
def test_a_download_that_is_not_a_whole_zip_of_one_file_changes_nothing(tmp_path, body):
    with pytest.raises(DataFileError, match="KOSPI"):
        downloaded(tmp_path, answering(body))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"kospi_code.mst": b"the old one"}


@pytest.mark.parametrize(("status", "error_type"), [(404, BadRequestError), (503, MaintenanceError)])
def test_a_failing_host_is_an_error_of_the_provider(tmp_path, status, error_type):
    with pytest.raises(error_type, match=str(status)):
        downloaded(tmp_path, answering(b"", status))


def test_an_exchange_without_a_master_file_is_named_in_the_error():
    with pytest.raises(DataFileError, match="NASDAQ"):
        asked(answering(WHOLE), lambda files: files.stamp("NASDAQ"))
