"""Alerts reach a target on loopback by the host's delivery, whatever that target does; no text has its URL."""

import asyncio
import contextlib
import os
from datetime import date

import msgspec
import pytest

from bus.commands import OpenAlert
from observer.base.clock import ManualClock, RealClock
from observer.base.environment import forget_withheld
from observer.base.errors import MissingKeysError
from observer.base.local_time import local_ns
from observer.monitoring.alerts import routing
from observer.monitoring.alerts.delivery import UNDELIVERED, AlertDelivery, DeliveryParts, result_of
from observer.monitoring.alerts.process import Alerts
from observer.monitoring.alerts.routing import trial_message
from observer.monitoring.alerts.settings import AlertSettings, AlertTarget
from observer.monitoring.alerts.targets import require_urls
from tests.monitoring.targets import SECRET, listening
from tests.waiting import until_async

NOON_NS = local_ns(date(2026, 11, 18), 12)


class Scene:
    """A delivery with open alerts that a test sets, and the alerts of its own host."""

    def __init__(self, folder, urls, timeout_s=60.0):
        self.folder = folder
        self.file = folder / "targets.toml"
        self.write(urls)
        self.settings = AlertSettings(
            targets_file=str(self.file),
            calm_s=0.0,
            timeout_s=timeout_s,
            targets={name: AlertTarget() for name in urls},
        )
        self.market = ManualClock(NOON_NS)
        self.own = Alerts(self.market, "supervisor", lambda *_: None)
        self.others: list[OpenAlert] = []

    def write(self, urls):
        self.file.touch(mode=0o600)
        self.file.write_text("".join(f'{name} = "{url}"\n' for name, url in urls.items()))

    def raise_alert(self, identity):
        self.others = [*self.others, OpenAlert(identity, "critical", NOON_NS, "a text", process="track-b")]

    def open_alerts(self):
        return [*self.others, *self.own.open]

    @property
    def undelivered(self):
        return [each.text for each in self.own.open if each.identity.startswith(UNDELIVERED)]

    @contextlib.asynccontextmanager
    async def running(self):
        delivery = AlertDelivery(
            self.settings,
            DeliveryParts(
                open_alerts=self.open_alerts,
                own=self.own,
                runtime=self.folder,
                market=self.market,
                machine=RealClock(),
                system="main@here",
            ),
        )
        task = asyncio.create_task(delivery.run())
        try:
            yield delivery
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    forget_withheld()
    monkeypatch.setattr("observer.monitoring.alerts.delivery._POLL_S", 0.02)
    monkeypatch.setattr("observer.monitoring.alerts.delivery.STOP_S", 0.1)
    monkeypatch.setattr(routing, "GATHER_NS", 0)
    monkeypatch.setattr(routing, "FIRST_RETRY_NS", 300_000_000)  # a sending takes half a second of a processor


async def test_an_alert_and_its_end_reach_the_target(tmp_path):
    with listening() as target:
        scene = Scene(tmp_path, {"phone": target.url})
        async with scene.running():
            scene.raise_alert("disk_full")
            await until_async(lambda: "CRITICAL track-b: disk_full: a text" in target.text)
            scene.others = []
            await until_async(lambda: "resolved track-b: disk_full" in target.text)
        assert target.messages[0]["type"] == "failure"
        assert target.paths[0] == f"/{SECRET}"


async def test_a_target_that_hangs_stops_neither_the_host_nor_another_target(tmp_path):
    with listening() as hanging, listening() as other:
        hanging.hangs.set()
        scene = Scene(tmp_path, {"phone": hanging.url, "mail": other.url}, timeout_s=600.0)
        scene.raise_alert("disk_full")
        async with scene.running():
            await until_async(lambda: hanging.attempts, "it hangs")
            await until_async(lambda: "disk_full" in other.text)
            scene.raise_alert("queue")
            await until_async(lambda: "queue" in other.text)
            assert hanging.messages == []


@pytest.mark.slow  # `test_alerts_sending.py` gives it up, and a refusal's alert is in every run
async def test_a_message_without_an_end_is_given_up_is_an_alert_at_the_other_targets_and_is_sent_again(
    tmp_path,
):
    with listening() as hanging, listening() as other:
        scene = Scene(tmp_path, {"phone": hanging.url}, timeout_s=0.5)
        hanging.hangs.set()
        scene.raise_alert("disk_full")
        async with scene.running() as delivery:
            await until_async(lambda: scene.undelivered)
            assert scene.undelivered[0].startswith("target phone gets no alerts: no end within 0.5 s; tried again in ")
            scene.write({"phone": hanging.url, "mail": other.url})
            both = {"phone": AlertTarget(), "mail": AlertTarget()}
            delivery.adopt(msgspec.structs.replace(scene.settings, targets=both, timeout_s=600.0))
            await until_async(lambda: "alerts_undelivered:phone" in other.text, "the other target says so")
            hanging.hangs.clear()
            hanging.released.set()
            await until_async(lambda: not scene.undelivered, "it is over")
            assert "disk_full" in hanging.text
            assert "undelivered" not in hanging.text


async def test_a_refusal_is_an_alert_without_the_url_and_is_tried_again_until_the_target_accepts(tmp_path, caplog):
    with listening() as target:
        target.status = 503
        scene = Scene(tmp_path, {"phone": target.url})
        scene.raise_alert("disk_full")
        async with scene.running():
            await until_async(lambda: target.attempts >= 2)
            assert "the target answers with HTTP status 503" in scene.undelivered[0]
            target.status = 200
            await until_async(lambda: "disk_full" in target.text)
            await until_async(lambda: not scene.undelivered)
        kept = "".join(path.read_text() for path in (tmp_path / "alert_targets").iterdir())
        assert SECRET not in caplog.text + kept


async def test_a_host_that_starts_again_sends_no_alert_twice_and_its_end(tmp_path):
    with listening() as target:
        scene = Scene(tmp_path, {"phone": target.url})
        scene.raise_alert("disk_full")
        async with scene.running():
            await until_async(lambda: target.messages)
            await until_async(lambda: '"sent":"critical"' in (tmp_path / "alert_targets/phone.json").read_text())
        async with scene.running():
            scene.raise_alert("queue")
            await until_async(lambda: "queue" in target.text)
            scene.others = []
            await until_async(lambda: target.text.count("resolved ") >= 2)
        assert target.text.count("CRITICAL track-b: disk_full") == 1


async def test_a_target_without_its_url_is_an_alert_and_a_corrected_file_counts_at_once(tmp_path):
    with listening() as target:
        scene = Scene(tmp_path, {"phone": target.url})
        scene.write({})
        scene.raise_alert("disk_full")
        async with scene.running():
            await until_async(lambda: scene.undelivered)
            assert f'set OBSERVER_ALERTS_PHONE, or write phone = "URL" in {scene.file}' in scene.undelivered[0]
            scene.write({"phone": target.url})
            await until_async(lambda: "disk_full" in target.text)


async def test_an_error_of_the_sending_is_a_failed_delivery_with_its_back_off_and_without_the_error_s_text(
    tmp_path, caplog, monkeypatch
):
    monkeypatch.setattr(routing, "FIRST_RETRY_NS", 3_600 * 10**9)

    scene = Scene(tmp_path, {"phone": "absent"})
    monkeypatch.setenv("OBSERVER_ALERTS_PHONE", f"json://127.0.0.1/{SECRET}\udcff")  # cannot be sent as JSON
    scene.raise_alert("disk_full")
    async with scene.running() as delivery:
        await until_async(lambda: scene.undelivered)
        assert scene.undelivered == [
            "target phone gets no alerts: the sending process failed; tried again in 60 s (`observer alerts test`)"
        ]
        monkeypatch.delenv("OBSERVER_ALERTS_PHONE", raising=False)
        forget_withheld()
        scene.write({})
        delivery.adopt(scene.settings)
        await until_async(lambda: "OBSERVER_ALERTS_PHONE" in "".join(scene.undelivered), "a reload tries it again")
    assert SECRET not in caplog.text


async def test_a_look_that_fails_is_an_alert_and_the_next_look_goes_on(tmp_path):
    with listening() as target:
        scene = Scene(tmp_path, {"phone": target.url})
        scene.others = [None]  # type: ignore[list-item]
        async with scene.running():
            await until_async(lambda: scene.undelivered)
            assert "an error of the host process" in scene.undelivered[0]
            scene.others = []
            await until_async(lambda: not scene.undelivered)
            scene.raise_alert("disk_full")
            await until_async(lambda: "disk_full" in target.text)


async def test_the_alert_about_a_target_ends_when_it_is_configured_no_more(tmp_path):
    scene = Scene(tmp_path, {"phone": "json://127.0.0.1:9/x"})
    scene.raise_alert("disk_full")
    async with scene.running() as delivery:
        await until_async(lambda: scene.undelivered)
        delivery.adopt(AlertSettings())
        await until_async(lambda: not scene.undelivered)


# --- the URLs ----------------------------------------------------------------------------------------------


def test_a_url_comes_from_the_environment_which_then_has_it_no_more(tmp_path, monkeypatch):
    monkeypatch.setenv("OBSERVER_ALERTS_MY_PHONE", f"json://127.0.0.1/{SECRET}")
    settings = AlertSettings(targets_file=str(tmp_path / "absent"), targets={"my-phone": AlertTarget()})
    require_urls(settings)
    assert "OBSERVER_ALERTS_MY_PHONE" not in os.environ
    require_urls(settings)


def test_a_file_that_others_may_read_is_refused_with_the_remedy_and_without_the_url(tmp_path):
    (path := tmp_path / "targets.toml").write_text(f'phone = "json://127.0.0.1/{SECRET}"\n')
    path.chmod(0o644)
    settings = AlertSettings(targets_file=str(path), targets={"phone": AlertTarget()})
    with pytest.raises(MissingKeysError, match="chmod 600") as refused:
        require_urls(settings)
    with pytest.raises(MissingKeysError, match="chmod 600"):
        asyncio.run(result_of("phone", trial_message("phone", "main@here"), settings))
    path.chmod(0o600)
    path.write_text(f"phone = {SECRET}\n")
    with pytest.raises(MissingKeysError, match="is not TOML") as wrong:
        require_urls(settings)
    assert SECRET not in f"{refused.value}{wrong.value}"


def test_every_target_without_a_url_is_named_at_once(tmp_path):
    settings = AlertSettings(
        targets_file=str(tmp_path / "absent"), targets={"phone": AlertTarget(), "mail": AlertTarget()}
    )
    with pytest.raises(MissingKeysError) as missing:
        require_urls(settings)
    assert str(missing.value).splitlines() == [
        f"alert target phone: no URL: set OBSERVER_ALERTS_PHONE, or create {tmp_path / 'absent'} (mode 600)",
        f"alert target mail: no URL: set OBSERVER_ALERTS_MAIL, or create {tmp_path / 'absent'} (mode 600)",
    ]
