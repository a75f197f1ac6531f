"""An account's token in a file: one process issues and writes the token, all others read it.

A process whose call was refused writes a note beside the file, with the fingerprint of the refused token. A process
whose stream was refused writes another note, of the approval key. workers.accounts reads the notes and renews once;
every waiting process reads the new record. So four processes with the same 401 cause one renewal. A note about a token
that is no longer in the file has no effect, so a late note does no harm.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

from observer.base.clock import Clock
from observer.base.errors import DataFileError, TokenExpiredError
from observer.base.private_file import replace_privately
from observer.base.state_file import StateFile
from observer.base.text import conceal
from observer.brokers.accounts.keys import AccountKeys
from observer.brokers.broker import CredentialPart, Credentials

logger = logging.getLogger(__name__)

_POLL_S: Final = 0.05  # machine time; a check of a file's stamp costs microseconds
_FINGERPRINT_LETTERS: Final = 16
# The note about a refused secret, and the moment of a record that moves when the secret is renewed.
_NOTES: Final[Mapping[CredentialPart, str]] = {"access_token": "rejected", "approval_key": "key_rejected"}
_RENEWED: Final[Mapping[CredentialPart, str]] = {"access_token": "renewed_ns", "approval_key": "key_renewed_ns"}


class TokenRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The file's content; moments in UTC ns of market time. `renewed_ns` also moves when the same token came back,
    `key_renewed_ns` with each approval key.
    """

    access_token: str
    approval_key: str
    issued_ns: int
    expires_ns: int
    renewed_ns: int
    key_renewed_ns: int = 0

    def __repr__(self) -> str:
        """Shows the moments, never the secrets."""
        return f"TokenRecord(issued_ns={self.issued_ns}, expires_ns={self.expires_ns}, renewed_ns={self.renewed_ns})"

    __str__ = __repr__


class TokenStore:
    """The file `<account>.json` and the notes `<account>.rejected` (its token) and `<account>.key_rejected` in a
    folder, readable by their owner only.
    """

    def __init__(self, folder: Path, account: str) -> None:
        self._file = StateFile(folder / f"{account}.json", TokenRecord)
        self._notes = {part: folder / f"{account}.{name}" for part, name in _NOTES.items()}

    def read(self) -> TokenRecord | None:
        """The record in force; None without a record.

        Raises:
            DataFileError: the file is no token record.
        """
        try:
            return self._file.read_whole()
        except (ValueError, RecursionError) as error:
            path = self._file.path
            raise DataFileError(f"{path} is not a token record; delete it and a new token is issued") from error

    def write(self, record: TokenRecord) -> None:
        """Replace the record durably and in one step. The new record answers every rejection of the secrets that it
        renews.

        Raises:
            OSError: the folder cannot be written.
        """
        # The note goes first. Left behind, it would count against a renewal that brought the same token back; written
        # again in between, it does so rightly or names a token that is not in force any more.
        with contextlib.suppress(DataFileError):  # an unreadable record is none
            old = self.read()
            for part, note in self._notes.items():
                if old is None or getattr(old, _RENEWED[part]) != getattr(record, _RENEWED[part]):
                    note.unlink(missing_ok=True)
        self._file.write(record)

    def note_rejection(self, refused: Credentials | TokenRecord, part: CredentialPart = "access_token") -> None:
        """Write the note that the broker refused this part.

        Raises:
            OSError: the folder cannot be written.
        """
        replace_privately(self._notes[part], fingerprint(getattr(refused, part)))

    def pending_rejection(self, part: CredentialPart = "access_token") -> bool:
        """Whether the broker refused the secret in force to any process."""
        record = self.read()
        return record is not None and _content(self._notes[part]) == fingerprint(getattr(record, part))


class CachedCredentials:
    """The credentials that a call needs, read from the account's token file. Satisfies `CredentialSource`."""

    def __init__(self, *, store: TokenStore, keys: AccountKeys, clock: Clock, deadline_s: float) -> None:
        """`deadline_s` is machine time: waiting for another process to write a file."""
        self._store = store
        self._keys = keys
        self._clock = clock
        self._deadline_s = deadline_s

    async def current(self) -> Credentials:
        """The credentials in force; waits while there is no token or only an expired one.

        Raises:
            TokenExpiredError: none came in time; not to be tried again, it has been waited for.
        """
        record = self._usable() or await self._wait_for(self._usable)
        if record is None:
            error = TokenExpiredError(f"no valid token of account {self._keys.account} within {self._deadline_s:g} s")
            error.retry = False
            raise error
        return Credentials(self._keys.app_key, self._keys.app_secret, record.access_token, record.approval_key)

    async def reject(self, used: Credentials, part: CredentialPart = "access_token") -> bool:
        """The broker refused this part. Returns True when a renewal was written; False after the deadline, or at once
        when the note for the renewing process cannot be written.

        Returns at once when the secret in force is another one already.
        """
        refused = self._read()
        if refused is None or getattr(refused, part) != getattr(used, part):
            return True
        try:
            self._store.note_rejection(used, part)
        except OSError as error:
            logger.error("a refusal to account %s cannot be noted: %s", self._keys.account, error)
            return False

        def renewed() -> TokenRecord | None:
            now = self._usable()
            names = (part, _RENEWED[part])
            is_same = now is not None and all(getattr(now, name) == getattr(refused, name) for name in names)
            return None if is_same else now

        return await self._wait_for(renewed) is not None

    def _read(self) -> TokenRecord | None:
        """Return the record in force, None for no or an unreadable record. From now on no log of this process shows its
        secrets.
        """
        try:
            record = self._store.read()
        except DataFileError as error:
            logger.warning("%s", error)
            return None
        if record is not None:
            conceal(record.access_token)
            conceal(record.approval_key)
        return record

    def _usable(self) -> TokenRecord | None:
        record = self._read()
        return record if record is not None and record.expires_ns > self._clock.now_ns() else None

    async def _wait_for(self, check: Callable[[], TokenRecord | None]) -> TokenRecord | None:
        """Return the first result of `check` before the deadline. Polls, as a file sends no event."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + self._deadline_s
        while True:
            found = check()
            if found is not None or loop.time() >= deadline_s:
                return found
            await asyncio.sleep(_POLL_S)


class FixedCredentials:
    """The credentials at a broker that issues none: always the same. Satisfies `CredentialSource`."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    async def current(self) -> Credentials:
        """The credentials, at once."""
        return self._credentials

    async def reject(self, used: Credentials, part: CredentialPart = "access_token") -> bool:  # noqa: ARG002 - the Protocol's
        """Returns False: no others will come."""
        return False


def fingerprint(secret: str) -> bytes:
    """A hash that identifies a token or an approval key without disclosing it."""
    return sha256(secret.encode()).hexdigest()[:_FINGERPRINT_LETTERS].encode()


def _content(note: Path) -> bytes | None:
    try:
        return note.read_bytes()
    except FileNotFoundError:
        return None
