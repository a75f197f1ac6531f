"""The simulator's own calls are for programs of this machine: no page in a browser reaches them, whatever its name."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observer.simulator.kis.simulator import _hostname
from tests.simulator.simulator_client import at, running

CALLS = (("POST", "/simulator/faults"), ("GET", "/simulator/counters"), ("GET", "/simulator/registrations"))
FAULT = b'{"kind": "token_revoked"}'


async def status_of(client, method, path, *headers):
    """The status of one request with exactly these headers, as its bytes say it; {port} is the simulator's."""
    port = int(client.simulator.rest_url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        lines = [f"{method} {path} HTTP/1.1", *(each.format(port=port) for each in headers)]
        lines += [f"Content-Length: {len(FAULT)}", "Connection: close", "", ""]
        writer.write("\r\n".join(lines).encode() + FAULT)
        return int((await reader.readline()).split()[1])
    finally:
        writer.close()


@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "localhost:{port}", "127.0.0.1", "LOCALHOST:80"])
async def test_a_program_that_names_a_loopback_address_is_served(host):
    async with running(at(10)) as client:
        assert [await status_of(client, *call, f"Host: {host}") for call in CALLS] == [200, 200, 200]
        assert client.simulator.counters().faults == {"token_revoked": 1}


@pytest.mark.parametrize(
    "headers",
    [
        ("Host: attacker.example:{port}",),
        ("Host: 127.0.0.1.attacker.example",),
        ("Host: 127.0.0.1@attacker.example",),
        ("Host: [::1",),
        ("Host: ",),
        (),
        ("Host: 127.0.0.1:{port}", "Origin: http://attacker.example"),
        ("Host: 127.0.0.1:{port}", "Origin: null"),
        ("Host: attacker.example:{port}", "Origin: http://attacker.example:{port}"),
    ],
)
async def test_a_page_in_a_browser_is_refused_and_changes_nothing(headers):
    async with running(at(10)) as client:
        statuses = [await status_of(client, *call, *headers) for call in (*CALLS, ("GET", "/simulator/nothing"))]
        assert set(statuses) <= {400, 403}, "400: the server itself does not accept such a header"
        assert client.simulator.counters().faults == {}


async def test_the_brokers_calls_are_served_by_any_name():
    async with running(at(10)) as client:
        assert await status_of(client, "POST", "/oauth2/tokenP", "Host: broker.example") != 403


@given(st.text())
def test_any_host_names_a_host_or_none_without_an_error(host):
    found = _hostname(host)
    assert found is None or isinstance(found, str)
