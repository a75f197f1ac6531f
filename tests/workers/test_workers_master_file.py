"""The process of master files as the supervisor starts it, while the calendar is computed."""

import asyncio
import signal
from datetime import timedelta
from pathlib import Path

import pytest

from bus.commands import Heartbeat, Ready
from observer.base.clock import RealClock
from observer.base.local_time import local_datetime
from observer.calendar.day_file import write_trading_days
from observer.calendar.trading_day import TradingDay
from tests.folders import short_folder
from tests.system.test_runtime_worker import listening, spawned, status_of
from tests.waiting import until_async


def beats(desk, name):
    return sum(isinstance(each, Heartbeat) and each.process == name for each in desk.received)


# In the place of the calendar package: the computation never ends, and says that it has begun.
NEVER_ENDS = """
import pathlib, signal
pathlib.Path(__file__).with_name("begun").touch()
signal.pause()
"""


def is_ready(desk, name):
    return any(isinstance(each, Ready) and each.process == name for each in desk.received)


@pytest.mark.slow
def test_a_computation_of_the_calendar_that_does_not_end_silences_no_process_and_delays_none_with_a_file_in_force(
    monkeypatch,
):
    """Without the day in the file the process sends heartbeats, which keep it alive; with it, it is ready."""

    with short_folder() as name:
        folder = Path(name)
        (folder / "data").mkdir()
        (folder / "packages").mkdir()
        (folder / "packages" / "exchange_calendars.py").write_text(NEVER_ENDS)
        (folder / "observer.toml").write_text(
            f'[run]\ndata = "{folder}/data"\nruntime = "{folder}/run"\n'
            f'[store]\nurl = "sqlite:///{folder}/data/observer.db"\n'
        )
        monkeypatch.setenv("KIS_APP_KEY", "PSnone")
        monkeypatch.setenv("KIS_APP_SECRET", "none")

        async def scene():
            words = ("--config", str(folder / "observer.toml"))
            async with listening(folder) as desk, spawned(folder / "writer.log", ("-m", "workers.core_writer", *words)):
                await until_async(lambda: is_ready(desk, "core-writer"), "the writer")
                argv = ("-m", "workers.master_file", *words)
                async with spawned(folder / "master.log", argv, path=folder / "packages") as process:
                    await until_async((folder / "packages" / "begun").exists, "the computation")
                    await until_async(lambda: beats(desk, "master-file") > 1, "heartbeats")
                    assert not is_ready(desk, "master-file")
                    process.send_signal(signal.SIGTERM)
                    assert await status_of(process) == 0
                today = local_datetime(RealClock().now_ns()).date()
                write_trading_days(
                    folder / "run", [TradingDay(today + timedelta(days=n), False, "computed last") for n in (0, 1)]
                )
                async with spawned(folder / "again.log", argv, path=folder / "packages"):
                    await until_async(lambda: is_ready(desk, "master-file"), "it is ready")

        asyncio.run(scene())
