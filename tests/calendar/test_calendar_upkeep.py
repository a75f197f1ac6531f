"""The upkeep of the day file: a file in force is used, and a late or failed computation is an alert."""

import asyncio
import contextlib
import datetime as dt
from functools import partial

from bus.events import AlertRaised
from observer.base.clock import ManualClock
from observer.base.local_time import local_ns
from observer.calendar import upkeep as upkeep_module
from observer.calendar.day_file import FILE_NAME, CalendarFiles, read_trading_days, write_trading_days
from observer.calendar.process import trading_days_apart
from observer.calendar.trading_day import TradingDay
from observer.calendar.upkeep import CalendarUpkeep
from observer.monitoring.alerts.process import Alerts
from tests.calendar.trading_years import OURS, known_days
from tests.waiting import until_async

TODAY = dt.date(2026, 11, 23)
IN_FORCE = [TradingDay(TODAY, False, "computed last")]


class Scene:
    """An upkeep on TODAY, and its alerts."""

    def __init__(self, folder, overlay=OURS.overlay, compute=known_days):
        self.alerts = []
        clock = ManualClock(local_ns(TODAY, 8))
        alerts = Alerts(clock, "master-file", lambda *events: self.alerts.extend(events))
        self.upkeep = CalendarUpkeep(
            folder,
            CalendarFiles(overlay, OURS.sessions),
            clock,
            partial(alerts.report, "calendar"),
            partial(alerts.resolve, "calendar"),
            compute,
        )

    def severities(self):
        return [each.severity if isinstance(each, AlertRaised) else "resolved" for each in self.alerts]

    @property
    def text(self):
        """Of the first alert."""
        first = self.alerts[0]
        assert isinstance(first, AlertRaised)
        return first.text


def days_in(folder):
    return {day.day for day in read_trading_days(folder)}


def test_a_late_computation_is_an_alert_that_its_end_resolves(tmp_path, monkeypatch):
    monkeypatch.setattr(upkeep_module, "_LATE_S", 0.0)
    scene = Scene(tmp_path, compute=trading_days_apart)
    asyncio.run(scene.upkeep.keep())
    assert scene.severities() == ["warning", "resolved"]
    assert scene.text.endswith("no phase, no universe and no sweep until then")
    assert {TODAY - dt.timedelta(days=100), TODAY, TODAY + dt.timedelta(days=40)} <= days_in(tmp_path)


def test_days_that_were_computed_before_are_no_late_computation(tmp_path, monkeypatch):
    monkeypatch.setattr(upkeep_module, "_LATE_S", 0.0)
    write_trading_days(tmp_path, IN_FORCE)
    go_on = asyncio.Event()

    async def late(files, first, last):
        await go_on.wait()
        return await known_days(files, first, last)

    scene = Scene(tmp_path, compute=late)

    async def run():
        keeping = asyncio.create_task(scene.upkeep.keep())
        await until_async(scene.upkeep.tried.is_set, "today is known")
        for _ in range(10):
            await asyncio.sleep(0)
        assert not keeping.done(), "it is late"
        go_on.set()
        await keeping

    asyncio.run(run())
    assert scene.alerts == []
    assert len(days_in(tmp_path)) > 100


async def test_a_failed_computation_is_one_alert_and_the_file_in_force_stays(tmp_path):
    write_trading_days(tmp_path, IN_FORCE)
    scene = Scene(tmp_path, tmp_path / "overlay.toml")

    await scene.upkeep.keep()
    await scene.upkeep.keep()
    assert scene.severities() == ["critical"]
    assert "the days computed last are used; correct" in scene.text
    assert read_trading_days(tmp_path) == IN_FORCE
    (tmp_path / "overlay.toml").write_bytes(OURS.overlay.read_bytes())
    await scene.upkeep.keep()
    assert scene.severities() == ["critical", "resolved"]


async def test_without_today_the_computation_is_tried_until_it_succeeds(tmp_path, monkeypatch):
    monkeypatch.setattr(upkeep_module, "_RETRY_S", 0.0)
    overlay = tmp_path / "overlay.toml"
    scene = Scene(tmp_path, overlay)

    keeping = asyncio.create_task(scene.upkeep.keep())
    await until_async(scene.upkeep.tried.is_set, "the first try")
    assert scene.severities() == ["critical"]
    overlay.write_bytes(OURS.overlay.read_bytes())
    await keeping
    assert scene.severities() == ["critical", "resolved"]
    assert "no phase, no universe and no sweep until then" in scene.text
    assert TODAY in days_in(tmp_path)


def test_a_stop_ends_the_computation(tmp_path):
    scene = Scene(tmp_path, compute=trading_days_apart)

    async def run():
        keeping = asyncio.create_task(scene.upkeep.keep())
        await asyncio.sleep(0)
        keeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeping

    asyncio.run(run())
    assert scene.alerts == []
    assert days_in(tmp_path) == set()


def test_a_damaged_day_file_is_replaced_as_an_absent_one(tmp_path):
    write_trading_days(tmp_path, IN_FORCE)
    content = (tmp_path / FILE_NAME).read_bytes()
    (tmp_path / FILE_NAME).write_bytes(content[:-5])
    assert read_trading_days(tmp_path) == []
    scene = Scene(tmp_path)
    asyncio.run(scene.upkeep.keep())
    assert scene.upkeep.tried.is_set()
    assert TODAY in days_in(tmp_path)


async def test_days_that_cannot_be_written_are_an_alert_and_are_written_once_that_is_possible(tmp_path, monkeypatch):
    monkeypatch.setattr(upkeep_module, "_RETRY_S", 0.0)
    runtime = tmp_path / "run"
    scene = Scene(runtime)

    keeping = asyncio.create_task(scene.upkeep.keep())
    await until_async(scene.upkeep.tried.is_set, "the first try")
    assert scene.severities() == ["critical"]
    assert f"No such file or directory: '{runtime}" in scene.text
    assert "observer ctl restart master-file" in scene.text
    runtime.mkdir()
    await keeping
    assert scene.severities() == ["critical", "resolved"]
    assert TODAY in days_in(runtime)
