"""Builds the configured sources of the ETF list: stored listings, KRX's two clients, the operator's table.

This module joins providers, secrets, settings and the database, which do not import each other.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Final, assert_never

import msgspec

from observer.base.errors import DataFileError, MissingKeysError, NotYetError
from observer.base.files import read_file
from observer.base.private_file import read_privately
from observer.base.text import conceal
from observer.brokers.etf import EtfListSource
from observer.brokers.settings import RestSettings
from observer.reference.etf.manual import parse_manual
from observer.reference.etf.model import EtfEntry
from observer.reference.etf.settings import EtfListSourceName, EtfSettings, KrxSettings
from observer.reference.listings.model import Listing
from observer.store.etf import EtfReader
from observer.store.reader import StoreReader

if TYPE_CHECKING:  # KRX's clients load a network library, and most systems never use them
    from observer.brokers.krx.client import KrxOpenApi

EXCHANGES: Final = ("KOSPI", "KOSDAQ")  # ETFs are on KOSPI; if ever one is on KOSDAQ it is found too


class MasterEtfs:
    """The broker's listings by group code, as stored in the database; makes no call. Satisfies `EtfListSource`."""

    name: Final = "master_files"

    def __init__(self, reader: StoreReader, groups: Sequence[str]) -> None:
        self._reader = reader
        self._groups = frozenset(groups)

    async def etf_list(self, last_session: date) -> Sequence[EtfEntry]:
        """The listings of these groups.

        Raises:
            NotYetError: no listings are stored yet.
        """
        del last_session
        stored = [await asyncio.to_thread(self._reader.active_listings, exchange) for exchange in EXCHANGES]
        listings = [each for active in stored for each in active.values()]
        if not listings:
            raise NotYetError(f"{self.name}: no listings are known yet: the master files come first")
        return [_entry(listing) for listing in listings if listing.group in self._groups]


def _entry(listing: Listing) -> EtfEntry:
    return EtfEntry(
        symbol=listing.symbol,
        name=listing.name or None,
        group=listing.group,
        isin=listing.isin or None,
        listed_shares=listing.listed_shares or None,
        listed_on=listing.listed_on,
    )


class ManualEtfs:
    """The operator's table. Satisfies `EtfListSource`. `problems` has the lines and cells left out by the last read."""

    name: Final = "csv"

    def __init__(self, path: Path) -> None:
        self._path = path
        self.problems: Sequence[str] = ()

    async def etf_list(self, last_session: date) -> Sequence[EtfEntry]:
        """The table's rows.

        Raises:
            DataFileError: the configured file is missing, is no text, or has a wrong header.
        """
        del last_session
        try:
            checked = parse_manual(read_file(self._path).decode(), str(self._path))
        except FileNotFoundError:
            if self._path == Path(EtfSettings().manual_file):
                return []
            raise DataFileError(f"{self.name}: there is no file {self._path}") from None
        except (OSError, UnicodeDecodeError) as error:
            raise DataFileError(f"{self.name}: {self._path} cannot be read: {error}") from error
        self.problems = checked.problems
        return list(checked.entries.values())


class _OpenApiKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    auth_key: str


class _Login(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    user: str
    password: str


class _KrxKeys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file of KRX's secrets."""

    open_api: _OpenApiKey | None = None
    data: _Login | None = None


class EtfSources(msgspec.Struct, frozen=True, kw_only=True):
    """What the sources are opened with. `rest` is the broker's way to its hosts, which is that to KRX too; `runtime` is
    the folder of locks.
    """

    settings: EtfSettings
    rest: RestSettings
    runtime: Path
    reader: EtfReader

    @contextlib.asynccontextmanager
    async def open(self, name: EtfListSourceName) -> AsyncIterator[EtfListSource]:
        """The source of that name.

        Raises:
            ConfigError: it has no key or login, or the file of certificates cannot be read; the text has the remedy.
        """
        match name:
            case "master_files":
                yield MasterEtfs(self.reader, self.settings.groups)
            case "csv":
                yield ManualEtfs(Path(self.settings.manual_file))
            case "krx_open_api":
                async with self.open_krx_api() as source:
                    yield source
            case "krx_data":
                from observer.brokers.krx.client import BROWSER, KrxData, open_krx_client

                krx = self.settings.krx
                login = _login(krx)
                as_browser = msgspec.structs.replace(self.rest, user_agent=self.rest.user_agent or BROWSER)
                lock_path = self.runtime / "krx_data.lock"
                async with open_krx_client(krx.data_url, as_browser) as client:
                    yield KrxData(client, login.user, login.password, lock_path, take_over=krx.take_over_session)
            case _:
                assert_never(name)

    @contextlib.asynccontextmanager
    async def open_krx_api(self) -> "AsyncIterator[KrxOpenApi]":
        """KRX's Open API with the configured key.

        Raises:
            ConfigError: see `open`.
        """
        from observer.brokers.krx.client import KrxOpenApi, open_krx_client

        krx = self.settings.krx
        auth_key = _auth_key(krx)
        async with open_krx_client(krx.open_api_url, self.rest) as client:
            yield KrxOpenApi(client, auth_key)


def _auth_key(krx: KrxSettings) -> str:
    keys = _read_keys(krx)
    if keys.open_api is None or not keys.open_api.auth_key.strip():
        raise MissingKeysError(f"krx_open_api: give [open_api] with auth_key in {krx.keys_file}")
    conceal(keys.open_api.auth_key.strip())
    return keys.open_api.auth_key.strip()


def _login(krx: KrxSettings) -> _Login:
    keys = _read_keys(krx)
    if keys.data is None or not keys.data.user.strip() or not keys.data.password:
        raise MissingKeysError(f"krx_data: give [data] with user and password in {krx.keys_file}")
    conceal(keys.data.user)
    conceal(keys.data.password)
    return keys.data


def _read_keys(krx: KrxSettings) -> _KrxKeys:
    path = Path(krx.keys_file).expanduser()
    try:
        return msgspec.toml.decode(read_privately(path), type=_KrxKeys)
    except FileNotFoundError:
        raise MissingKeysError(f"KRX: create {path} (mode 600)") from None
    except (ValueError, RecursionError) as error:  # of tomllib too: a number of thousands of digits
        raise MissingKeysError(f"{path} cannot be read: {type(error).__name__}") from None
