"""Waiting for a database that does not answer, and giving up on one that cannot be used."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from observer.alerts.process import DATABASE_UNAVAILABLE, Alerts
from observer.errors import ConfigError, DatabaseInUseError, StoreError, StoreFailedError

logger = logging.getLogger(__name__)

DATABASE_RETRY_S: Final = 1.0

# How long the writer before this one may take to die. Longer than a restarted machine's lost connection keeps its lock
# (observer.store.engine), shorter than the supervisor waits for Ready.
TAKEOVER_S: Final = 10.0


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
            alerts.report(DATABASE_UNAVAILABLE, "critical", text)
        except DatabaseInUseError as error:
            text = f"waiting for the database: {error}"
            gives_up_s = gives_up_s or loop.time() + TAKEOVER_S
            if loop.time() >= gives_up_s:
                raise ConfigError(str(error)) from error
        except StoreError as error:
            raise ConfigError(str(error)) from error
        logger.error("%s", text)
        await asyncio.sleep(DATABASE_RETRY_S)
