"""Waiting for a database that does not answer, reporting it, and giving up on one that cannot be used."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final, NoReturn, Protocol

from observer.base.errors import ConfigError, DatabaseInUseError, StoreError, StoreFailedError
from observer.monitoring.alerts.process import DATABASE_UNAVAILABLE, Alerts, database_identity

logger = logging.getLogger(__name__)

DATABASE_RETRY_S: Final = 1.0

# How long the writer before this one may take to die. Longer than a restarted machine's lost connection keeps its lock
# (observer.store.engine), shorter than the supervisor waits for Ready.
TAKEOVER_S: Final = 10.0

# Without an answer: longer than a writer of SQLite waits for a lock, or PostgreSQL for one (observer.store.engine).
SILENT_S_MAX: Final = 10.0
SILENCE_CHECK_S: Final = 1.0


async def database_ready(prepare: Callable[[], None], alerts: Alerts) -> None:
    """Repeat `prepare` while the database or its disk fails: a restart would not help. While another process writes it,
    repeat for TAKEOVER_S.

    Raises:
        ConfigError: another process still writes it; or it has a schema, say, that can neither be used nor migrated.
    """
    loop = asyncio.get_running_loop()
    gives_up_s: float | None = None
    while True:
        try:
            return await asyncio.to_thread(prepare)
        except StoreFailedError as error:
            text = f"waiting for the database: {error}"
            alerts.report(database_identity(text), "critical", text)
        except DatabaseInUseError as error:
            text = f"waiting for the database: {error}"
            gives_up_s = gives_up_s or loop.time() + TAKEOVER_S
            if loop.time() >= gives_up_s:
                raise ConfigError(str(error)) from error
        except StoreError as error:
            raise ConfigError(str(error)) from error
        logger.error("%s", text)
        await asyncio.sleep(DATABASE_RETRY_S)


class Writing(Protocol):
    """What writes the database, on another thread."""

    @property
    def is_in_outage(self) -> bool:
        """Whether the database refuses events, which is reported already."""
        ...

    @property
    def silent_s(self) -> float:
        """For how many machine seconds the database has been without an answer, at most."""
        ...


async def report_silence(writing: Writing, alerts: Alerts) -> NoReturn:
    """Report a database that does not answer, until it does: a server that stands still raises no error. Runs until
    cancelled.
    """
    is_silent = False
    while True:
        await asyncio.sleep(SILENCE_CHECK_S)
        if writing.silent_s > SILENT_S_MAX:
            is_silent = True
            text = f"the database has not answered for more than {SILENT_S_MAX:g} s"
            alerts.report(DATABASE_UNAVAILABLE, "critical", text)
        elif is_silent:
            is_silent = False
            if not writing.is_in_outage:
                alerts.resolve(DATABASE_UNAVAILABLE, "the database answers again")
