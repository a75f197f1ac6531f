"""KRX's two clients to the list of ETFs: the Open API with a key, and the site's data call with a person's own login.

The second is off unless a person configures it: KRX has one session a person, a password that expires every three
months, and terms that forbid automated collection. What answers mean is in `krx.bodies`.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec

from bus.events import EtfNavDay
from observer.base.errors import LoggedOutError, SessionTakenError
from observer.base.file_lock import FileLock
from observer.brokers.http import ended_call, open_client, read_body
from observer.brokers.krx.bodies import data_entries, login_refusal, open_days, open_entries, refusal
from observer.brokers.settings import RestSettings
from observer.reference.etf.model import EtfEntry

TIMEOUT_S: Final = 30.0  # machine seconds; the data call's answer has half a megabyte

_OPEN_PATH: Final = "/svc/apis/etp/etf_bydd_trd"
_DATA_PATH: Final = "/comm/bldAttendant/getJsonData.cmd"
_DATA_FORM: Final = {
    "bld": "dbms/MDC/STAT/standard/MDCSTAT04601",
    "locale": "ko_KR",
    "share": "1",
    "csvxls_isNo": "false",
}
_LOGIN_PAGES: Final = (
    "/contents/MDC/COMS/client/MDCCOMS001.cmd",
    "/contents/MDC/COMS/client/view/login.jsp?site=mdc",
)
_LOGIN_PATH: Final = "/contents/MDC/COMS/client/MDCCOMS001D1.cmd"
_REFERER_PATH: Final = "/contents/MDC/MDI/outerLoader/index.cmd"
BROWSER: Final = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36"


def open_krx_client(base_url: str, settings: RestSettings) -> httpx.AsyncClient:
    """A client that keeps cookies, with the broker's way to its hosts, and a time-out of KRX's: no limiter waits here.

    Raises:
        ConfigError: the file of certificates cannot be read.
    """
    return open_client(base_url, msgspec.structs.replace(settings, timeout_s=TIMEOUT_S))


class KrxOpenApi:
    """KRX's Open API. Satisfies `EtfListSource`. The client is the caller's to close; the key goes into one header."""

    name: Final = "krx_open_api"

    def __init__(self, client: httpx.AsyncClient, auth_key: str) -> None:
        self._client = client
        self._auth_key = auth_key

    async def etf_list(self, last_session: date) -> Sequence[EtfEntry]:
        """The ETFs that were traded on the last finished session; empty when KRX has not published it yet.

        Raises:
            ProviderError: KRX did not answer, or refused.
        """
        return open_entries(await self._of_day(last_session), self.name)

    async def etf_days(self, day: date, received_ns: int) -> Sequence[EtfNavDay]:
        """Close, NAV and index of every ETF on that day, in one call; empty for a day without a session.

        Raises:
            ProviderError: KRX did not answer, or refused.
        """
        return open_days(await self._of_day(day), received_ns, self.name)

    async def _of_day(self, day: date) -> bytes:
        params, headers = {"basDd": day.strftime("%Y%m%d")}, {"AUTH_KEY": self._auth_key}
        return await _send(self._client, "GET", _OPEN_PATH, self.name, params=params, headers=headers)


class KrxData:
    """The data call of data.krx.co.kr. Satisfies `EtfListSource`.

    One session at a time: a lock keeps two processes of ours from throwing each other out, and a session elsewhere is
    left alone unless `take_over` says otherwise. The user's name and password go to the login call only. The site
    answers browsers: the client's name must be one (`BROWSER`).
    """

    name: Final = "krx_data"

    def __init__(
        self, client: httpx.AsyncClient, user: str, password: str, lock_path: Path, *, take_over: bool
    ) -> None:
        self._client = client
        self._user = user
        self._password = password
        self._lock_path = lock_path
        self._take_over = take_over

    async def etf_list(self, last_session: date) -> Sequence[EtfEntry]:
        """Today's list: the call knows no other day. A session that was lost meanwhile is begun again, once.

        Raises:
            SessionTakenError: logged in elsewhere, or by another process of ours.
            PasswordExpiredError: a person must change the password.
            LoggedOutError: KRX ended the session twice.
            ProviderError: KRX did not answer, or refused.
        """
        del last_session
        with _only_session(self._lock_path, self.name):
            await self._log_in()
            try:
                content = await self._list()
            except LoggedOutError:
                await self._log_in()
                content = await self._list()
        return data_entries(content, self.name)

    async def _list(self) -> bytes:
        return await self._send("POST", _DATA_PATH, _DATA_FORM, {"X-Requested-With": "XMLHttpRequest"})

    async def _log_in(self) -> None:
        for page in _LOGIN_PAGES:
            await self._send("GET", page)
        error = login_refusal(await self._post_login({}), self.name)
        if isinstance(error, SessionTakenError) and self._take_over:
            error = login_refusal(await self._post_login({"skipDup": "Y"}), self.name)
        if error is not None:
            raise error

    async def _post_login(self, more: Mapping[str, str]) -> bytes:
        empty = dict.fromkeys(("mbrNm", "telNo", "di", "certType"), "")
        return await self._send("POST", _LOGIN_PATH, {**empty, "mbrId": self._user, "pw": self._password, **more})

    async def _send(
        self, method: str, path: str, form: Mapping[str, str] | None = None, headers: Mapping[str, str] = {}
    ) -> bytes:
        referer = {"Referer": str(self._client.base_url.join(_REFERER_PATH))}
        return await _send(self._client, method, path, self.name, data=form, headers={**referer, **headers})


@contextlib.contextmanager
def _only_session(lock_path: Path, call: str) -> Iterator[None]:
    """Hold the lock of the one session.

    Raises:
        SessionTakenError: another process holds it.
    """
    with contextlib.closing(FileLock(lock_path)) as lock:
        if not lock.take():
            raise SessionTakenError(f"{call}: another process of ours is logged in at KRX", call=call)
        yield


async def _send(client: httpx.AsyncClient, method: str, path: str, call: str, **asked: Any) -> bytes:
    """A successful answer's content; `asked` are httpx's params, data and headers. What went wrong never quotes the
    request, which can hold a secret.
    """
    async with ended_call(client, call), client.stream(method, path, **asked) as response:
        content = await read_body(response, call)
    refused = refusal(response.status_code, content, call)
    if refused is not None:
        raise refused
    return content
