"""One message to one target: what the sending process says of it, and what it never says."""

import asyncio

import pytest

from observer.monitoring.alerts.sending import Parcel, Result, deliver, result_text, send
from tests.monitoring.targets import SECRET, listening


def parcel(url, body="a text"):
    return Parcel(url, "a title", body, "critical")


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


@pytest.mark.parametrize("url", [f"nosuch://{SECRET}", SECRET, "", "tgram://x", "json://127.0.0.1, json://127.0.0.2"])
def test_a_url_that_is_none_or_several_is_a_wrong_url(url):
    assert send(parcel(url)) == Result("wrong_url")


def test_no_text_of_a_parcel_has_its_url():
    assert SECRET not in f"{parcel(SECRET)!r} {parcel(SECRET)}"


WITHIN_S = 20.0  # the start of the process, which is in it, takes half a second of the processor


async def test_what_has_no_end_in_time_is_a_timeout():
    with listening() as hanging:
        hanging.hangs.set()
        result = await deliver(parcel(f"{hanging.url}?rto=120"), WITHIN_S, {})
    assert result_text(result, WITHIN_S) == "no end within 20 s"


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
    assert found == Result("sent")
    assert '"OWN": "its own"' in seen.read_text()
    assert seen.read_text().count("of the desktop") == 3, "a desktop target needs them"
    assert SECRET not in seen.read_text()
