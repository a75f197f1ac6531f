"""Statistics of the tables for the query planner, made anew each day: with them a plan fits a database that grows.

They are made on a connection of their own, table by table, so that a commit waits for one table at most. On PostgreSQL
the same statement makes the room of removed rows (`[store] keep_days`) free for new ones: where the server's
autovacuum is off or falls behind, each day's rows would make the files longer. SQLite needs nothing for that.
"""

import asyncio
import logging
import time
from typing import Final

from observer.base.clock import Clock
from observer.base.errors import StoreError
from observer.base.units import NS_PER_MINUTE
from observer.calendar.service import TradingDayService
from observer.monitoring.alerts.process import Alerts
from observer.store.engine import open_existing, store_errors
from observer.store.tables import METADATA

logger = logging.getLogger(__name__)

_AFTER_STOP_NS: Final = 10 * NS_PER_MINUTE  # market time after the last sweep: the day's rows are in
_ROWS_EXAMINED: Final = 2_000  # of each index in SQLite; PostgreSQL takes a sample of its own
# Without TRUNCATE no reader waits: only giving pages at the end of a file back to the disk needs an exclusive lock.
_POSTGRESQL_STATEMENT: Final = "VACUUM (ANALYZE, TRUNCATE false)"


def refresh_statistics(url: str) -> float:
    """Make the statistics of every table anew, and on PostgreSQL the room of removed rows free; return the seconds of
    the longest table.

    Raises:
        StoreError: the database does not answer, or another process kept it for too long.
    """
    engine = open_existing(url)
    longest_s = 0.0
    try:
        with store_errors(engine), engine.connect() as connection:
            statement = "ANALYZE"
            if engine.dialect.name == "postgresql":
                connection.execution_options(isolation_level="AUTOCOMMIT")  # VACUUM runs in no transaction
                statement = _POSTGRESQL_STATEMENT
            for name in sorted(METADATA.tables):
                began_s = time.monotonic()
                if engine.dialect.name == "sqlite":
                    connection.exec_driver_sql(f"PRAGMA analysis_limit={_ROWS_EXAMINED}")
                connection.exec_driver_sql(f"{statement} {name}")
                connection.commit()
                longest_s = max(longest_s, time.monotonic() - began_s)
    finally:
        engine.dispose()
    return longest_s


class StatisticsJob:
    """Makes the statistics once a day, after Track A has stopped."""

    def __init__(self, url: str, today: TradingDayService, clock: Clock, alerts: Alerts) -> None:
        self._url = url
        self._today = today
        self._clock = clock
        self._alerts = alerts

    async def run(self) -> None:
        """Work until cancelled. A failure is an alert until the next day's success; the plans stay as they were."""
        while True:
            plan = await self._today.plan()
            await self._clock.sleep_until(plan.track_a_stop_ns + _AFTER_STOP_NS)
            try:
                longest_s = await asyncio.to_thread(refresh_statistics, self._url)
            except StoreError as error:
                text = f"queries may become slow, no new statistics of the tables today: {error}"
                self._alerts.report("statistics", "warning", text)
            else:
                self._alerts.resolve("statistics", "statistics of the tables are made again")
                logger.info("statistics of the tables made, the longest in %.2f s", longest_s)
            await self._today.end_of(plan)
