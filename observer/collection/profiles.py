"""Stores each finished session's volumes by time of day, once: Track B compares the next days with them."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Final

from msgspec.structs import replace

from bus.producer import Producer
from observer.base.clock import Clock
from observer.base.errors import StoreError
from observer.base.lines import venue_of
from observer.calendar.phases import DayPlan
from observer.calendar.service import TradingDayService
from observer.gaps.reconciliation import SETTLED_AFTER_NS
from observer.selection.triggers import ProfileSettings
from observer.store.reader import StoreReader

logger = logging.getLogger(__name__)

_RETRY_S: Final = 30.0  # machine seconds
_SYMBOLS_AT_ONCE: Final = 2_000  # of one batch, of some 2 MB


class ProfileJob:
    """Publishes the volumes of the sessions that Track B will read and that are not stored yet.

    Args:
        settings: how many sessions Track B reads.
        open_reader: opens the database, and waits until it answers.
        settled: waits until all published events of the producer are in the database.
        turn: held while a session is computed, so that two jobs of the process never run at once.
    """

    def __init__(
        self,
        settings: ProfileSettings,
        *,
        open_reader: Callable[[], AbstractAsyncContextManager[StoreReader]],
        settled: Callable[[Producer], Awaitable[None]],
        turn: asyncio.Lock,
        today: TradingDayService,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._open_reader = open_reader
        self._settled = settled
        self._turn = turn
        self._today = today
        self._clock = clock

    async def run(self, producer: Producer) -> None:
        """Store the sessions before today that lack their volumes, then each day when Track A has stopped, until
        cancelled.
        """
        if not self._settings.enabled:
            return
        async with self._open_reader() as reader:
            async for plan in self._today.days():
                await self._store(reader, producer, plan, plan.day.isoformat())
                await self._clock.sleep_until(plan.track_a_stop_ns + SETTLED_AFTER_NS)
                await self._store(reader, producer, plan, (plan.day + timedelta(days=1)).isoformat())

    async def _store(self, reader: StoreReader, producer: Producer, plan: DayPlan, before: str) -> None:
        while True:
            try:
                missing = await asyncio.to_thread(reader.sessions_without_profile, before, self._settings.days)
                for session_date in missing:
                    async with self._turn:
                        await self._publish(reader, producer, plan, session_date)
                        await self._settled(producer)  # so that the next session's means are made of stored volumes
            except StoreError as error:
                logger.error("cannot store the volumes by time of day yet: %s", error)
                await asyncio.sleep(_RETRY_S)
            else:
                return

    async def _publish(self, reader: StoreReader, producer: Producer, plan: DayPlan, session_date: str) -> None:
        computed = await asyncio.to_thread(
            reader.volume_profiles, session_date, self._settings.days, self._clock.now_ns()
        )
        found = [replace(each, venue=venue_of(each.symbol, plan.venue)) for each in computed]
        for first in range(0, len(found), _SYMBOLS_AT_ONCE):
            producer.publish_together(found[first : first + _SYMBOLS_AT_ONCE])
        logger.info("%s: stored the volumes by time of day of %d symbols", session_date, len(found))
