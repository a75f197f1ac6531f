"""Hellos that wait for their answers: the newest of each peer, answered in turn and seldom, since each costs a question
to the database.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

HELLO_EVERY_S: Final = 0.2  # machine seconds between two answers to one peer
HELLOS_A_ROUND: Final = 16
HELLOS_WAITING_MAX: Final = 1_000
_ANSWERED_MAX: Final = 10_000  # of more the earliest are forgotten


class _Hello(msgspec.Struct, frozen=True):
    content: bytes
    due_s: float


class WaitingHellos:
    """The hellos of all peers, by their routing ids; times are machine seconds."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, _Hello] = {}
        self._answered_s: dict[bytes, float] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def keep(self, peer: bytes, content: bytes, from_s: float = 0.0) -> bool:
        """Keep the hello until it is due, not before `from_s`; it replaces an earlier hello of the same peer. When too
        many hellos wait, the hello that is due last is dropped, and its producer says hello again. Returns False if the
        new hello is dropped.
        """
        paced_s = self._answered_s[peer] + HELLO_EVERY_S if peer in self._answered_s else 0.0
        due_s = max(from_s, paced_s)
        if peer not in self._waiting and len(self._waiting) >= HELLOS_WAITING_MAX:
            last = max(self._waiting, key=lambda waiting: self._waiting[waiting].due_s)
            if self._waiting[last].due_s <= due_s:
                return False
            del self._waiting[last]
        self._waiting[peer] = _Hello(content, due_s)
        return True

    def take_due(self, now_s: float) -> Sequence[tuple[bytes, bytes]]:
        """Take the peers and contents of the hellos that are to be answered now, those that came first at first."""
        due = [(peer, hello.content) for peer, hello in self._waiting.items() if hello.due_s <= now_s]
        for peer, _ in due[:HELLOS_A_ROUND]:
            del self._waiting[peer]
            self._answered_s.pop(peer, None)
            self._answered_s[peer] = now_s
        while len(self._answered_s) > _ANSWERED_MAX:
            del self._answered_s[next(iter(self._answered_s))]
        return due[:HELLOS_A_ROUND]
