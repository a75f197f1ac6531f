"""An account's token in a file: one process issues and writes the token, all others read it.

A process whose call was refused writes a note beside the file, with the fingerprint of the refused token. A process
whose stream was refused writes another note, of the approval key. workers.accounts reads the notes and renews once;
every waiting process reads the new record. So four processes with the same 401 cause one renewal. A note about a token
that is no longer in the file has no effect, so a late note does no harm.

This room does not know the brokers. A function that the caller passes in builds the credentials of a call, as
`observer.brokers.broker.Credentials` does.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Final, Generic, Protocol, TypeVar

import msgspec

from observer.base.clock import Clock
from observer.base.errors import DataFileError, TokenExpiredError
from observer.base.private_file import replace_privately
from observer.base.text import conceal
from observer.brokers.accounts.keys import AccountKeys

logger = logging.getLogger(__name__)

_POLL_S: Final = 0.05  # machine time; a check of a file's stamp costs microseconds
_FINGERPRINT_LETTERS: Final = 16


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


class Presented(Protocol):
    """The credentials of a call, as far as this room uses them."""

    @property
    def access_token(self) -> str: ...

    @property
    def approval_key(self) -> str: ...


CallCredentials = TypeVar("CallCredentials", bound=Presented)


class TokenStore:
    """The file `<account>.json` and the notes `<account>.rejected` (its token) and `<account>.key_rejected` in a
    folder, readable by their owner only.
    """

    def __init__(self, folder: Path, account: str) -> None:
        self._path = folder / f"{account}.json"
        self._note = folder / f"{account}.rejected"
        self._key_note = folder / f"{account}.key_rejected"
        # The record that was read last, with the stamp of the file it came from.
        self._stamp: tuple[int, int, int] | None = None
        self._record: TokenRecord | None = None

    def read(self) -> TokenRecord | None:
        """The record in force; None without a record. Reads the file again only after its replacement.

        Raises:
            DataFileError: the file is no token record.
        """
        try:
            status = self._path.stat()
            stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
            if stamp != self._stamp:
                self._record = msgspec.json.decode(self._path.read_bytes(), type=TokenRecord)
                self._stamp = stamp
        except FileNotFoundError:
            self._stamp = self._record = None
        except (ValueError, RecursionError) as error:
            raise DataFileError(f"{self._path} is not a token record; delete it and a new token is issued") from error
        return self._record

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
            if old is None or old.renewed_ns != record.renewed_ns:
                self._note.unlink(missing_ok=True)
            if old is None or old.key_renewed_ns != record.key_renewed_ns:
                self._key_note.unlink(missing_ok=True)
        replace_privately(self._path, msgspec.json.encode(record))

    def note_rejection(self, refused: Presented) -> None:
        """Write the note that the broker refused this access token.

        Raises:
            OSError: the folder cannot be written.
        """
        replace_privately(self._note, fingerprint(refused.access_token))

    def note_key_rejection(self, refused: Presented) -> None:
        """Write the note that the broker refused this approval key.

        Raises:
            OSError: the folder cannot be written.
        """
        replace_privately(self._key_note, fingerprint(refused.approval_key))

    def pending_rejection(self) -> bool:
        """Whether the broker refused the access token in force to any process."""
        record = self.read()
        return record is not None and _content(self._note) == fingerprint(record.access_token)

    def pending_key_rejection(self) -> bool:
        """Whether the broker refused the approval key in force to any process."""
        record = self.read()
        return record is not None and _content(self._key_note) == fingerprint(record.approval_key)


class CachedCredentials(Generic[CallCredentials]):
    """The credentials that a call needs, read from the account's token file. Satisfies `CredentialSource`."""

    def __init__(
        self,
        *,
        store: TokenStore,
        keys: AccountKeys,
        clock: Clock,
        build: Callable[[str, str, str, str], CallCredentials],
        deadline_s: float,
    ) -> None:
        """Give the order of `build`'s arguments: app key, app secret, access token, approval key.

        `deadline_s` is machine time: waiting for another process to write a file.
        """
        self._store = store
        self._keys = keys
        self._clock = clock
        self._build = build
        self._deadline_s = deadline_s

    async def current(self) -> CallCredentials:
        """The credentials in force; waits while there is no token or only an expired one.

        Raises:
            TokenExpiredError: none came in time; not to be tried again, it has been waited for.
        """
        record = self._usable()
        if record is None:
            record = await self._wait_for(self._usable)
        if record is None:
            error = TokenExpiredError(f"no valid token of account {self._keys.account} within {self._deadline_s:g} s")
            error.retry = False
            raise error
        return self._build(self._keys.app_key, self._keys.app_secret, record.access_token, record.approval_key)

    async def reject(self, used: CallCredentials) -> bool:
        """The broker refused this access token. Returns True when a renewal was written; False after the deadline, or
        at once when the note for the renewing process cannot be written.

        Returns at once when the token in force is another one already.
        """
        refused = self._read()
        if refused is None or refused.access_token != used.access_token:
            return True
        if not self._is_noted(self._store.note_rejection, used):
            return False
        return await self._is_there(
            lambda now: (now.access_token, now.renewed_ns) != (refused.access_token, refused.renewed_ns)
        )

    async def reject_key(self, used: CallCredentials) -> bool:
        """The broker refused this approval key; see `reject`."""
        refused = self._read()
        if refused is None or refused.approval_key != used.approval_key:
            return True
        if not self._is_noted(self._store.note_key_rejection, used):
            return False
        return await self._is_there(
            lambda now: (now.approval_key, now.key_renewed_ns) != (refused.approval_key, refused.key_renewed_ns)
        )

    def _is_noted(self, note: Callable[[CallCredentials], None], used: CallCredentials) -> bool:
        try:
            note(used)
        except OSError as error:
            logger.error("a refusal to account %s cannot be noted: %s", self._keys.account, error)
            return False
        return True

    async def _is_there(self, is_renewed: Callable[[TokenRecord], bool]) -> bool:
        """Whether a usable record that meets the condition comes in force before the deadline."""
        return await self._wait_for(lambda: self._usable_if(is_renewed)) is not None

    def _usable_if(self, is_renewed: Callable[[TokenRecord], bool]) -> TokenRecord | None:
        record = self._usable()
        return record if record is not None and is_renewed(record) else None

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


class FixedCredentials(Generic[CallCredentials]):
    """The credentials at a broker that issues none: always the same. Satisfies `CredentialSource`."""

    def __init__(self, credentials: CallCredentials) -> None:
        self._credentials = credentials

    async def current(self) -> CallCredentials:
        """The credentials, at once."""
        return self._credentials

    async def reject(self, used: CallCredentials) -> bool:  # noqa: ARG002 - the name is the Protocol's
        """Returns False: no others will come."""
        return False

    async def reject_key(self, used: CallCredentials) -> bool:  # noqa: ARG002 - the name is the Protocol's
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
