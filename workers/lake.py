"""Seals finished days as Parquet files; runs only where [lake] is configured."""

import gc
import os
from collections.abc import Callable
from typing import Final

from observer.archive.copying import copy_of_lake
from observer.archive.day_files import DayFiles
from observer.archive.object_store import ObjectStore, open_target
from observer.archive.settings import TARGET_VARIABLES, LakeSettings
from observer.archive.upkeep import LakeJobs, LakeUpkeep
from observer.base.environment import withhold
from observer.store.exports import ledgers_folder
from observer.system.worker import Worker, run

COLLECT_AFTER_OBJECTS: Final = 100_000  # a batch is so many rows and values, which no cycle can hold: a quarter faster


async def lake(worker: Worker) -> None:
    """Seal each day after its backup, until stopped; after a late start also the missed ones."""
    gc.set_threshold(COLLECT_AFTER_OBJECTS)
    settings = worker.settings
    assert settings.lake is not None, "this process exists only with [lake]"
    async with worker.reader():
        pass  # only waits for the database; a sealing has a reader of its own
    copies = [copy_of_lake(folder, settings.instance) for folder in settings.backup.folders_of(settings.run)]
    upkeep = LakeUpkeep(
        lake=settings.lake.folder_in(settings.run.data),
        url=settings.store.url,
        market=settings.instance.market,
        now_ns=worker.clock.now_ns,
        day_files=DayFiles(ledgers_folder(settings.run.data), settings.provider),
        keep_days=settings.store.keep_days,
        copy=None if settings.lake.target else copies[0],
        copies=[each.folder for each in copies],
    )
    target = _target_of(settings.lake) if settings.lake.target else None
    jobs = LakeJobs(upkeep, worker.today, worker.clock, worker.alerts, target)
    async with worker.producer():  # which publishes the alerts
        await worker.ready()
        await jobs.run()


def _target_of(settings: LakeSettings) -> Callable[[], ObjectStore]:
    """Opens the target; its keys leave the environment with the first time."""
    return lambda: open_target(settings, {**os.environ, **withhold(TARGET_VARIABLES)})


if __name__ == "__main__":
    run("lake", lake)
