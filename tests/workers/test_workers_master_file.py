"""The process of master files as the supervisor starts it: ready without the calendar."""

import asyncio
import signal
import tempfile
from pathlib import Path

import pytest

from bus.commands import Ready
from observer.calendar.day_file import read_trading_days
from tests.runtime.test_runtime_worker import Desk, listening, spawned, status_of
from tests.waiting import until_async

# In the place of the calendar package: the computation never ends, and says that it has begun.
NEVER_ENDS = """
import pathlib, signal
pathlib.Path(__file__).with_name("begun").touch()
signal.pause()
"""


def is_ready(desk: Desk, name: str) -> bool:
    return any(isinstance(each, Ready) and each.process == name for each in desk.received)


def test_the_process_is_ready_while_the_calendar_is_being_computed_and_stops_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with tempfile.TemporaryDirectory(prefix="obs") as name:
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

        async def scene() -> None:
            words = ("--config", str(folder / "observer.toml"))
            async with listening(folder) as desk, spawned(folder / "writer.log", ("-m", "workers.core_writer", *words)):
                await until_async(lambda: is_ready(desk, "core-writer"), "the writer")
                argv = ("-m", "workers.master_file", *words)
                async with spawned(folder / "master.log", argv, path=folder / "packages") as process:
                    await until_async((folder / "packages" / "begun").exists, "the computation")
                    await until_async(lambda: is_ready(desk, "master-file"), "it is ready")
                    assert read_trading_days(folder / "run") == []
                    process.send_signal(signal.SIGTERM)
                    assert await status_of(process) == 0

        asyncio.run(scene())
