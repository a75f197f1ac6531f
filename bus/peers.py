"""Peers that send unreadable messages: each mistake is counted, and the peer is ignored for a while."""

import logging
import time
from collections.abc import Callable
from typing import Final

logger = logging.getLogger(__name__)

IGNORED_S: Final = 10.0  # machine seconds; a producer of ours says hello again meanwhile
LOGGED_EVERY_S: Final = 60.0  # machine seconds between two lines about one cause
IGNORED_MAX: Final = 1_000  # peers; of more the oldest are forgotten


class Peers:
    """The peers of one socket, by their routing ids.

    Args:
        name: of the socket, for the log.
        monotonic: machine seconds.
    """

    def __init__(self, name: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._monotonic = monotonic
        self._ignored_until_s: dict[bytes, float] = {}
        self._logged_s: dict[str, float] = {}
        self.refused = 0
        """Messages that could not be read, or came from a peer that is ignored."""

    def is_ignored(self, peer: bytes) -> bool:
        """Whether the peer is ignored now; then its message counts as refused."""
        if not self._ignored_until_s or (until_s := self._ignored_until_s.get(peer)) is None:
            return False
        if self._monotonic() >= until_s:
            del self._ignored_until_s[peer]
            return False
        self.refused += 1
        return True

    def ignore(self, peer: bytes, what: str, why: object) -> None:
        """Ignore the peer for `IGNORED_S`.

        Args:
            peer: its routing id.
            what: the kind of the refused message; one of few.
            why: the reason of the refusal; one line.
        """
        while len(self._ignored_until_s) >= IGNORED_MAX:
            del self._ignored_until_s[next(iter(self._ignored_until_s))]
        self._ignored_until_s[peer] = self._monotonic() + IGNORED_S
        self.refuse(what, why)

    def refuse(self, what: str, why: object) -> None:
        """Count a refused message, and log it unless the cause was logged within `LOGGED_EVERY_S`."""
        self.refused += 1
        now_s = self._monotonic()
        if now_s >= self._logged_s.get(what, now_s):
            self._logged_s[what] = now_s + LOGGED_EVERY_S
            logger.warning("refused %s on the %s socket: %s; %d refused so far", what, self._name, why, self.refused)


NETWORK: Final = Peers("network")
"""Counts the connections that this process refused, by an unknown key or a key of another role, or that it ended."""
