"""One message to one target: what the sending process says of it, and what it never says."""

import pytest

from observer.alerts.sending import Parcel, Result, result_text, send
from tests.alerts.targets import SECRET, listening


def parcel(url: str, body: str = "a text") -> Parcel:
    return Parcel(url, "a title", body, "critical")


def test_an_accepted_message_is_sent_as_it_is(capfd: pytest.CaptureFixture[str]) -> None:
    with listening() as target:
        assert send(parcel(target.url, "5 % <b>of\\n</b> *all*")) == Result("sent")
        [message] = target.messages
        assert (message["title"], message["message"], message["type"]) == (
            "a title",
            "5 % <b>of\\n</b> *all*",
            "failure",
        )
    assert SECRET not in "".join(capfd.readouterr())


def test_a_message_that_is_too_long_for_its_service_is_cut(capfd: pytest.CaptureFixture[str]) -> None:
    with listening() as target:
        assert send(parcel(target.url, "the first line\n" + "x" * 100_000)) == Result("sent")
        [message] = target.messages
        assert message["message"].startswith("the first line\nxxx")
        assert len(message["message"]) < 100_000


def test_a_refusal_has_the_status_and_not_the_url(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with listening() as target:
        target.status = 403
        found = send(parcel(target.url))
    assert found == Result("refused", 403)
    assert result_text(found, 30.0) == "the target answers with HTTP status 403"
    assert SECRET not in "".join(capfd.readouterr()) + caplog.text


def test_a_target_that_is_not_there_is_a_refusal_without_a_status() -> None:
    found = send(parcel(f"json://127.0.0.1:9/{SECRET}"))
    assert found == Result("refused")
    assert result_text(found, 30.0) == "the target cannot be reached, or refuses the message"


@pytest.mark.parametrize("url", [f"nosuch://{SECRET}", SECRET, "", "tgram://x"])
def test_a_url_that_is_none_is_a_wrong_url(url: str) -> None:
    assert send(parcel(url)) == Result("wrong_url")


def test_no_text_of_a_parcel_has_its_url() -> None:
    assert SECRET not in f"{parcel(SECRET)!r} {parcel(SECRET)}"
