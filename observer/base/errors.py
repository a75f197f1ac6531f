"""The tree of our errors. Each says what is wrong and, where there is one, the remedy; none carries a secret."""

from collections.abc import Iterable
from typing import Final

from observer.base.text import SAID_BYTES_MAX, cut, plain_text, shown

_CODE_BYTES_MAX: Final = 80


class ObserverError(Exception):
    """Root of everything that Observer raises on purpose. `exit_status` is that of a command which it ends: 2 for wrong
    usage, configuration or files, 1 for a failure outside the command.
    """

    exit_status = 2


class ConfigError(ObserverError):
    """The configuration, the environment or an option is wrong; nothing was started."""


class MissingKeysError(ConfigError):
    """No usable broker keys; the text says what is missing and where to put it."""


class ProviderError(ObserverError):
    """A broker did not give what was asked. `retry` says whether asking again can help.

    The message may quote the broker: it is cut, and holds neither control characters nor secrets.
    """

    exit_status = 1
    retry = False

    def __init__(self, message: str, *, call: str = "", code: str = "") -> None:
        super().__init__(shown(message, SAID_BYTES_MAX))
        self.call = call
        self.code = cut(plain_text(code), _CODE_BYTES_MAX)


class TransportError(ProviderError):
    """No answer: connection refused, cut, or timed out."""

    retry = True


class RateExceededError(ProviderError):
    """Too many calls in the second."""

    retry = True


class TokenExpiredError(ProviderError):
    """The access token is expired or invalid (HTTP 401, or the broker's own code)."""

    retry = True


class TokenThrottledError(ProviderError):
    """A token was issued less than a minute ago."""

    retry = True


class MaintenanceError(ProviderError):
    """The broker's own failure: HTTP 5xx or a gateway time-out."""

    retry = True


class LoggedOutError(ProviderError):
    """There is no session, or it was ended (KRX: LOGOUT); logging in again can help."""

    retry = True


class SessionTakenError(ProviderError):
    """The one session that a person may have is in use elsewhere (KRX CD011, or another process of ours)."""


class PasswordExpiredError(ProviderError):
    """The password must be changed by a person before anything else works (KRX CD010)."""


class BadRequestError(ProviderError):
    """The broker refused the request itself; asking again gives the same answer."""


class MalformedError(ProviderError):
    """The broker's answer cannot be read."""


class StoreError(ObserverError):
    """The database cannot be opened, is of another schema, or refuses to write."""


class StoreFailedError(StoreError):
    """The database or its disk failed: full, read-only, locked, or it does not answer."""

    exit_status = 1


class DatabaseDamagedError(StoreFailedError):
    """A page of the database is not what was written: by its own word, or the database's check."""


class DatabaseRemovedError(StoreFailedError):
    """The database's file is gone while a process writes it."""


class DatabaseReplacedError(StoreFailedError):
    """Another database, or an older state of it, is in the place of the one that a process writes."""


class DatabaseInUseError(StoreError):
    """Another process writes the database, or another living system owns it."""


class DataFileError(ObserverError):
    """A file of ours or of a broker is missing, unreadable or not what it should be. The message may quote the file, as
    that of a `ProviderError` the broker.
    """

    def __init__(self, message: str) -> None:
        super().__init__(shown(message, SAID_BYTES_MAX))


class LakeInUseError(ObserverError):
    """Another process changes the lake."""

    exit_status = 1


class UntidyCatalogueError(ObserverError):
    """The days are sealed, but the lake's catalogue could not be brought up to date, or keeps what it does not need."""

    exit_status = 1


class TargetError(ObserverError):
    """The object store of the lake does not answer, or refuses what was asked. The message may quote it, as that of a
    `ProviderError` the broker.
    """

    exit_status = 1

    def __init__(self, message: str) -> None:
        super().__init__(shown(message, SAID_BYTES_MAX))


class DamagedFileError(DataFileError):
    """A file of ours is gone, or has not the content that was written."""


class NotYetError(DataFileError):
    """What a job of the day needs is not there yet; another process is making it."""


class UnreadableFileError(DataFileError):
    """A file may be whole, but the system does not give it: for lack of rights, or by a fault of the disk or mount."""


class FileGoneError(DataFileError):
    """A broker's host does not have the files any more; asked again soon, it would say the same."""


class NotReplayableError(ObserverError):
    """What was recorded of a day does not suffice to make its decisions again."""


class BackupFailedError(ObserverError):
    """No package was made, or it did not reach the second target."""

    exit_status = 1


class StoppedError(ObserverError):
    """Work that takes long was interrupted by a request to stop; what it had begun was taken back."""

    exit_status = 130  # a shell's exit status for a program that SIGINT ended


class NoDataError(ObserverError):
    """What a command asks for is not stored; the text says what is stored instead, or how to store it."""

    exit_status = 1


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """'; did you mean NAME?' for the nearest of the known names, or else all of them: '; there are NAME, NAME'."""
    from difflib import get_close_matches

    names = list(known)
    nearest = get_close_matches(name, names, 1)
    return f"; did you mean {nearest[0]}?" if nearest else f"; there are {', '.join(names)}"
