"""The ends of a stream connection, and the choice of the decisive one among several at once."""

import asyncio
from collections.abc import Sequence
from typing import Final

from observer.brokers.dialect import SessionRefused

CONNECTION_LOST: Final = "connection lost"
"""The reason of a subscription that ended with its connection: trades may have been sent and not read."""
UNREAD_BESIDE: Final = "unread, another account streams it"
"""Two accounts stream a symbol: what one sent and was not read, or not yet, is older than what the other one brings."""
REMOVED_BESIDE: Final = "removed, another account streams it"
"""The broker may have removed the symbol here before it began to send it there, although that was read later."""


class LostError(Exception):
    """The connection is unusable; the text gives the reason. `since_ns`: the last sign of life, if it fell silent."""

    def __init__(self, reason: str, since_ns: int | None = None) -> None:
        super().__init__(reason)
        self.since_ns = since_ns


class KeyChangedError(Exception):
    """Another approval key is in force: the connection has to be made again with it."""


class RefusedError(Exception):
    """The broker closed its door on this connection."""

    def __init__(self, message: SessionRefused) -> None:
        super().__init__(f"{message.code} {message.reason}")
        self.key_rejected = message.key_rejected


_RANKS: Final[tuple[type[BaseException], ...]] = (asyncio.CancelledError, KeyChangedError, LostError, RefusedError)


def decisive(outcomes: Sequence[BaseException | None]) -> BaseException:
    """The most informative exception: a refusal explains the close that follows it; a bug outranks both."""
    return max((error for error in outcomes if error is not None), key=_rank)


def _rank(error: BaseException) -> int:
    return next((index for index, kind in enumerate(_RANKS) if isinstance(error, kind)), len(_RANKS))
