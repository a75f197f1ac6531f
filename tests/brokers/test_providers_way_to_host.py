"""The way to a broker's host: certificates of a company's own authority, a proxy, and the name of the client.

The host is a TLS server on loopback whose certificate an authority of the test signed; the proxy is a tunnel on
loopback. KRX's clients go the same way as the broker's.
"""

import asyncio
import ssl
import traceback
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from ipaddress import ip_address

import msgspec
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from observer.base.errors import ConfigError, TransportError
from observer.brokers.accounts.limiter import ANSWER_LIMIT_NS
from observer.brokers.http import Request, open_client, send_once, trusted_certificates
from observer.brokers.kis.envelope import KisRestDialect
from observer.brokers.krx.client import BROWSER
from observer.brokers.settings import RestSettings
from observer.reference.etf.settings import EtfSettings, KrxSettings
from observer.reference.etf.sources import EtfSources
from tests.brokers.krx_stand_in import AUTH_KEY, PASSWORD, USER, krx_serving
from tests.brokers.stand_ins import serving
from tests.waiting import DEADLINE_S

SECRET = "Bearer of the account"


def certificate(name, key, issuer, issuer_key, *extensions):
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2100, 1, 1, tzinfo=UTC))
    )
    for extension, is_critical in extensions:
        builder = builder.add_extension(extension, is_critical)
    return builder.sign(issuer_key, hashes.SHA256())


def named(name):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """The company's authority as a PEM file, and the TLS context of the host."""
    folder = tmp_path_factory.mktemp("authority")
    ca_key, host_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca_name = named("A company's authority")
    ca = certificate(ca_name, ca_key, ca_name, ca_key, (x509.BasicConstraints(ca=True, path_length=0), True))
    address = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    host = certificate(named("host"), host_key, ca_name, ca_key, (address, False))
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(ca.public_bytes(pem))
    key = host_key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "host.pem").write_bytes(key + host.public_bytes(pem))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "host.pem")
    return str(folder / "ca.pem"), context


@pytest.fixture(autouse=True)
def _environment_of_the_test(monkeypatch):
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    trusted_certificates.cache_clear()
    yield
    trusted_certificates.cache_clear()


class Proxy:
    """A proxy that makes tunnels, and keeps what it was asked and what passed through it."""

    def __init__(self):
        self.asked = []
        self.passed = bytearray()
        self.address = ""
        self._tunnels = set()

    @asynccontextmanager
    async def running(self):
        server = await asyncio.start_server(self._tunnel, "127.0.0.1", 0)
        self.address = "http://{}:{}".format(*server.sockets[0].getsockname()[:2])
        try:
            yield self
        finally:
            server.close()
            for task in self._tunnels:
                task.cancel()
            await asyncio.gather(*self._tunnels, return_exceptions=True)

    async def _tunnel(self, reader, writer):
        self._tunnels.add(asyncio.current_task())
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, _ = head.decode().split("\r\n")[0].split(" ")
        self.asked.append((method, target))
        host, port = target.rsplit(":", 1)
        from_host, to_host = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(self._pass(reader, to_host), self._pass(from_host, writer))

    async def _pass(self, reader, writer):
        while portion := await reader.read(65_536):
            self.passed += portion
            writer.write(portion)
            await writer.drain()
        writer.close()


def called(authority, through=None, **settings):
    """The host's address, and the client's name at each call that it saw. `through` is a proxy that runs meanwhile; the
    setting `proxy` may be made of its address.
    """
    _, context = authority
    seen = []

    async def handle(request):
        seen.append(request.headers["user-agent"])
        assert request.headers["authorization"] == SECRET
        return web.Response(body=b"{}")

    async def scenario():
        async with (
            serving(web.get("/ask", handle), tls=context) as address,
            open_client(f"https://{address}", RestSettings(**settings)) as client,
        ):
            call = send_once(client, Request("ask", "GET", "/ask"), {"authorization": SECRET}, KisRestDialect())
            await asyncio.wait_for(call, DEADLINE_S)
        return address

    async def through_proxy():
        async with through.running():
            settings["proxy"] = settings["proxy"](through.address)
            return await scenario()

    return asyncio.run(scenario() if through is None else through_proxy()), seen


def test_a_host_with_a_companys_certificate_is_not_trusted(authority):
    with pytest.raises(TransportError, match="CERTIFICATE_VERIFY_FAILED"):
        called(authority)


def test_the_file_of_the_setting_is_trusted(authority):
    _, seen = called(authority, certificates=authority[0])
    assert len(seen) == 1


def test_the_file_of_the_environment_is_trusted(authority, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", authority[0])
    _, seen = called(authority)
    assert len(seen) == 1


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_a_file_without_certificates_is_a_mistake_of_the_configuration(tmp_path, content):
    path = tmp_path / "company.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"certificates: .*company\.pem"):
        open_client("https://127.0.0.1:9", RestSettings(certificates=str(path)))


def test_a_proxy_of_the_setting_makes_a_tunnel_in_which_it_sees_nothing(authority):
    proxy = Proxy()
    address, seen = called(authority, proxy, certificates=authority[0], proxy=lambda own: own)
    assert proxy.asked == [("CONNECT", address)]
    assert len(seen) == 1
    assert SECRET.encode() not in proxy.passed


@pytest.mark.parametrize(("setting", "is_used"), [("", False), ("environment", True)])
def test_a_proxy_of_the_environment_is_used_where_the_setting_says_so(authority, monkeypatch, setting, is_used):
    proxy = Proxy()

    def settings(own):
        monkeypatch.setenv("HTTPS_PROXY", own)
        return setting

    address, seen = called(authority, proxy, certificates=authority[0], proxy=settings)
    assert proxy.asked == [("CONNECT", address)] * is_used
    assert len(seen) == 1


def asked_krx(authority, folder, *names, through=None, **settings):
    """The names of the clients that KRX's host saw while each source of these names gave its list of ETFs."""
    _, context = authority
    keys = folder / "krx.toml"
    keys.touch(mode=0o600)
    keys.write_text(f'[open_api]\nauth_key = "{AUTH_KEY}"\n[data]\nuser = "{USER}"\npassword = "{PASSWORD}"\n')

    async def scenario():
        async with krx_serving(context) as (krx, address):
            hosts = KrxSettings(open_api_url=address, data_url=address, keys_file=str(keys))
            sources = EtfSources(
                settings=EtfSettings(krx=hosts), rest=RestSettings(**settings), runtime=folder, reader=None
            )
            for name in names:
                async with sources.open(name) as source:
                    assert await asyncio.wait_for(source.etf_list(date(2026, 11, 17)), DEADLINE_S)
        return krx.agents

    async def through_proxy():
        async with through.running():
            settings["proxy"] = through.address
            return await scenario()

    return asyncio.run(scenario() if through is None else through_proxy())


KRX_SOURCES = ("krx_open_api", "krx_data")


@pytest.mark.parametrize("name", KRX_SOURCES)
def test_krx_is_trusted_as_the_broker_s_host_is(authority, tmp_path, name):
    with pytest.raises(TransportError, match="CERTIFICATE_VERIFY_FAILED"):
        asked_krx(authority, tmp_path, name)
    assert asked_krx(authority, tmp_path, name, certificates=authority[0])


@pytest.mark.parametrize("name", KRX_SOURCES)
def test_the_proxy_of_the_setting_is_the_way_to_krx_too_and_sees_nothing(authority, tmp_path, name):
    proxy = Proxy()
    asked_krx(authority, tmp_path, name, through=proxy, certificates=authority[0])
    assert proxy.asked
    assert not any(secret.encode() in proxy.passed for secret in (AUTH_KEY, USER, PASSWORD))


def test_krx_sees_the_client_s_name_of_the_setting_and_its_site_a_browser_without_one(authority, tmp_path):
    ours = "Mozilla/5.0 (of a company)"
    assert asked_krx(authority, tmp_path, *KRX_SOURCES, certificates=authority[0], user_agent=ours) == {ours}
    assert asked_krx(authority, tmp_path, "krx_data", certificates=authority[0]) == {BROWSER}
    [plain] = asked_krx(authority, tmp_path, "krx_open_api", certificates=authority[0])
    assert plain.startswith("python-httpx/")


def test_the_client_has_the_name_of_the_setting(authority):
    _, [default] = called(authority, certificates=authority[0])
    assert default.startswith("python-httpx/")
    _, seen = called(authority, certificates=authority[0], user_agent="Mozilla/5.0 (of a browser)")
    assert seen == ["Mozilla/5.0 (of a browser)"]


@pytest.mark.parametrize(
    "proxy",
    [
        *("yes", "proxy.company:3128", "socks5://proxy:1080", "http://", "http://a:hidden@proxy:1", "http://a@proxy:1"),
        *("http://a:hid/den@proxy:1", "http://a:1#hidden@proxy", "http://a:1?hidden@proxy", "http://proxy:1/hidden"),
        *("http://proxy:1#hidden", "http://proxy:1?hidden", "http://proxy:hidden", "http://proxy:99999"),
    ],
)
def test_a_proxy_is_a_host_and_a_port_without_a_password_and_a_refusal_shows_none(proxy):
    with pytest.raises(ValueError, match=r"proxy: .*HTTPS_PROXY") as refused:
        RestSettings(proxy=proxy)
    assert "hid" not in "".join(traceback.format_exception(refused.value))


def test_a_timeout_is_no_longer_than_the_rate_limit_waits_for_an_answer():
    assert msgspec.convert({"timeout_s": ANSWER_LIMIT_NS / 10**9}, RestSettings).timeout_s == 10.0
    for wrong in (10.1, 0.0):
        with pytest.raises(msgspec.ValidationError, match="timeout_s"):
            msgspec.convert({"timeout_s": wrong}, RestSettings)
