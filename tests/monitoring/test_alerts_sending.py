"""One message to one target: what the sending process says of it, and what it never says."""

import asyncio
import os

import pytest

from observer.monitoring.alerts.sending import Parcel, Result, deliver, digest_of, failure_text, result_text
from observer.monitoring.alerts.sending import send as send_all
from tests.monitoring.targets import SECRET, listening
from tests.waiting import until_async


def parcel(url, body="a text"):
    return Parcel(url, "a title", body, "critical")


def results_of(parcel):
    """The results of the parcel's URLs, sent by this process."""
    found: dict[int, Result] = {}
    send_all(parcel, lambda result: found.update({result.number: result}))
    return list(found.values())


def send(parcel):
    """The result of the parcel's one URL."""
    [result] = results_of(parcel)
    return Result(result.outcome, result.status)


def test_an_accepted_message_is_sent_as_it_is(capfd):
    with listening() as target:
        assert send(parcel(target.url, "5 % <b>of\\n</b> *all*")) == Result("sent")
        [message] = target.messages
        assert (message["title"], message["message"], message["type"]) == (
            "a title",
            "5 % <b>of\\n</b> *all*",
            "failure",
        )
    assert SECRET not in "".join(capfd.readouterr())


def test_a_message_that_is_too_long_for_its_service_is_cut(capfd):
    with listening() as target:
        assert send(parcel(target.url, "the first line\n" + "x" * 100_000)) == Result("sent")
        [message] = target.messages
        assert message["message"].startswith("the first line\nxxx")
        assert len(message["message"]) < 100_000


def test_a_refusal_has_the_status_and_not_the_url(capfd, caplog):
    with listening() as target:
        target.status = 403
        found = send(parcel(target.url))
    assert found == Result("refused", 403)
    assert result_text(found, 30.0) == "the target answers with HTTP status 403"
    assert SECRET not in "".join(capfd.readouterr()) + caplog.text


def test_a_target_that_is_not_there_is_a_refusal_without_a_status():
    found = send(parcel(f"json://127.0.0.1:9/{SECRET}"))
    assert found == Result("refused")
    assert result_text(found, 30.0) == "the target cannot be reached, or refuses the message"


@pytest.mark.parametrize("url", [f"nosuch://{SECRET}", SECRET, "", "tgram://x"])
def test_a_url_that_is_none_is_a_wrong_url(url):
    assert send(parcel(url)) == Result("wrong_url")


def test_no_text_of_a_parcel_has_its_url():
    assert SECRET not in f"{parcel(SECRET)!r} {parcel(SECRET)}"


def test_each_url_of_a_target_has_a_result_of_its_own():
    async def body():
        with listening() as good, listening() as bad:
            bad.status = 503
            message = ("a title", "a text", "critical")
            absent = f"json://127.0.0.1:9/{SECRET}"
            urls, names = (
                f"{good.url}, {bad.url} {absent}",
                [digest_of(each, "salt") for each in (good.url, bad.url, absent)],
            )
            ended = [
                Result("sent", None, 1, names[0]),
                Result("refused", 503, 2, names[1]),
                Result("refused", None, 3, names[2]),
            ]
            results = await deliver(Parcel(f"{urls}, ;", *message, salt="salt"), 60.0, {})
            assert results == ended
            assert failure_text(results, 60.0) == (
                "URL 2: the target answers with HTTP status 503; "
                "URL 3: the target cannot be reached, or refuses the message"
            )
            assert results_of(Parcel(urls, *message, only=names[1], salt="salt")) == [ended[1]]
            assert results_of(Parcel(urls, *message, None, names[1:], "salt")) == [ended[0]]
            assert results_of(Parcel(urls, *message, only=names[1], salt="other")) == [], "no such URL"
            assert len(good.messages) == 2

    asyncio.run(body())


async def test_urls_that_hang_do_not_keep_the_message_from_the_others():
    count = (os.cpu_count() or 1) + 4  # the threads of the library's own pool

    with listening() as hanging, listening() as good, listening() as bad:
        hanging.hangs.set()
        bad.status = 503
        hang = [f"{hanging.url}/{number}?rto=120" for number in range(count)]
        urls = ", ".join([*hang, good.url, bad.url])
        sending = asyncio.create_task(deliver(Parcel(urls, "a title", "a text", "critical"), 600.0, {}))
        await until_async(lambda: hanging.attempts == count and good.messages and bad.attempts, "at the same time")
        assert not sending.done()
        hanging.released.set()
        assert [each.outcome for each in await sending] == [*["refused"] * count, "sent", "refused"]
        assert len(good.messages) == 1


WITHIN_S = 20.0  # the start of the process, which is in it, takes half a second of the processor


async def test_what_has_no_end_in_time_is_a_timeout_of_its_url_alone():
    with listening() as hanging, listening() as good:
        hanging.hangs.set()
        urls = f"{good.url}, {hanging.url}?rto=120"
        results = await deliver(Parcel(urls, "a title", "a text", "critical"), WITHIN_S, {})
        assert [(each.outcome, each.number) for each in results] == [("sent", 1), ("timeout", 2)]
        assert failure_text(results, WITHIN_S) == "URL 2: no end within 20 s"


def test_the_sending_process_has_no_variable_that_another_target_or_program_keeps_secret(tmp_path, monkeypatch):
    seen = tmp_path / "seen.json"
    program = f"import json, os, pathlib\npathlib.Path({str(seen)!r}).write_text(json.dumps(dict(os.environ)))"
    (tmp_path / "sitecustomize.py").write_text(program)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    for name in ("OBSERVER_ALERTS_OTHER", "KIS_APP_SECRET", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, SECRET)
    for name in ("DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR", "DISPLAY"):
        monkeypatch.setenv(name, "of the desktop")
    with listening() as target:
        found = asyncio.run(deliver(parcel(target.url.replace(SECRET, "x")), 60.0, {"OWN": "its own"}))
    assert [each.outcome for each in found] == ["sent"]
    assert '"OWN": "its own"' in seen.read_text()
    assert seen.read_text().count("of the desktop") == 3, "a desktop target needs them"
    assert SECRET not in seen.read_text()
