"""States without figures."""

import asyncio
from collections.abc import AsyncIterator

from observer.web.model import (
    Alerts,
    Backups,
    Board,
    Gaps,
    Listings,
    Premiums,
    Processes,
    State,
    Storage,
    Sweeps,
    Tape,
    Timeline,
    Universe,
)


def state(headline: str) -> State:
    return State(
        now_ms=1,
        is_live=True,
        day="2026-11-18",
        market_time="2026-11-18T10:00:00+09:00",
        instance="main",
        phase="IDLE",
        level="ok",
        headline=headline,
        timeline=Timeline(known_ms=1),
        processes=Processes(known_ms=1),
        alerts=Alerts(known_ms=1),
        board=Board(known_ms=1),
        universe=Universe(known_ms=1),
        gaps=Gaps(known_ms=1),
        sweeps=Sweeps(known_ms=1),
        listings=Listings(known_ms=1),
        premiums=Premiums(known_ms=1),
        storage=Storage(known_ms=1),
        backups=Backups(known_ms=1),
        tape=Tape(known_ms=1),
    )


class States:
    """States as a test gives them."""

    def __init__(self) -> None:
        self._given: asyncio.Queue[State] = asyncio.Queue()

    def give(self, headline: str) -> None:
        self._given.put_nowait(state(headline))

    async def __aiter__(self) -> AsyncIterator[State]:
        while True:
            yield await self._given.get()
