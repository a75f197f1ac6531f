"""The tree of our errors. Each says what is wrong and, where there is one, the remedy; none carries a secret."""


class ObserverError(Exception):
    """Root of everything that Observer raises on purpose."""


class ConfigError(ObserverError):
    """The configuration, the environment or an option is wrong; nothing was started."""


class MissingKeysError(ConfigError):
    """No usable broker keys; the text says what is missing and where to put it."""


class ProviderError(ObserverError):
    """A broker did not give what was asked. `retry` says whether asking again can help."""

    retry = False

    def __init__(self, message: str, *, call: str = "", code: str = "") -> None:
        super().__init__(message)
        self.call = call
        self.code = code


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


class DatabaseInUseError(StoreError):
    """Another process writes the database."""


class DataFileError(ObserverError):
    """A file of ours or of a broker is missing, unreadable or not what it should be."""


class NotReplayableError(ObserverError):
    """What was recorded of a day does not suffice to make its decisions again."""
