"""Logs: one object a line, stamped with market time, and never a secret."""

import io
import logging
import math
import os
import re
import resource
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from observer.base import logs
from observer.base.clock import ManualClock
from observer.base.local_time import local_ns
from observer.base.text import CONCEALED, conceal, plain_lines, without_secrets

NINE = local_ns(date(2026, 11, 18), 9)
Form = Literal["json", "plain"]
SECRET = "eyJ0eXAi.OiJKV1Qi-LCJhbGciOi"


@pytest.fixture(autouse=True)
def root_logger_as_it_was():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def written(form="json", level="INFO"):
    stream = io.StringIO()
    logs.set_up("track-b", ManualClock(NINE), form=form, level=level, stream=stream)
    return stream


def objects(stream):
    return [msgspec.json.decode(line, type=dict[str, str]) for line in stream.getvalue().splitlines()]


def test_a_line_is_an_object_with_market_time():
    stream = written()
    logging.getLogger("bus.producer").warning("%d events wait", 3)
    assert objects(stream) == [
        {
            "time": "2026-11-18T09:00:00.000+09:00",
            "level": "warning",
            "process": "track-b",
            "logger": "bus.producer",
            "event": "3 events wait",
        }
    ]


@given(st.text())
def test_any_message_stays_one_line_that_parses(message):
    stream = written()
    logging.getLogger("any").info("%s", message)
    [line] = [line for line in stream.getvalue().split("\n") if line]
    assert msgspec.json.decode(line)["event"] == plain_lines(message)


@pytest.mark.parametrize("form", ["json", "plain"])
def test_a_message_from_outside_cannot_steer_a_terminal(form):
    stream = written(form)
    logging.getLogger("any").info("refused: %s", "\x1b]0;title\x07\x9b31m\u202eabc\x00")
    assert stream.getvalue().rstrip("\n").isprintable()


def fail(text):
    raise RuntimeError(text)


@pytest.mark.parametrize("form", ["json", "plain"])
def test_a_long_message_and_a_long_error_are_cut(form):
    stream = written(form)
    try:
        fail("x" * 5_000_000)
    except RuntimeError:
        logging.getLogger("any").exception("%s", "y" * 5_000_000)
    assert len(stream.getvalue()) < 20_000
    assert stream.getvalue().count("bytes more)") == 2


def test_of_many_lines_of_one_origin_the_first_are_written_and_the_others_counted():
    stream = written()
    for number in range(10_000):
        logging.getLogger("any").warning("refused: %d", number)
    logging.getLogger("any").warning("something else")
    logging.getLogger().handlers[0].close()
    events = [line["event"] for line in objects(stream)]
    assert events[: logs.REPEATED_MAX] == [f"refused: {number}" for number in range(logs.REPEATED_MAX)]
    assert events[logs.REPEATED_MAX :] == ["something else", "9900 more lines in a minute like: refused: %d"]


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 30)), max_size=400))
def test_every_line_is_written_or_counted(lines):
    repetitions = logs.Repetitions()
    now_s, written_lines, counted = 0.0, 0, 0
    for name, after_s in lines:
        now_s += after_s
        counted += sum(repetitions.ended(now_s).values())
        written_lines += repetitions.is_written(logs.Origin(str(name), 0, ""), now_s)
    counted += sum(repetitions.ended(math.inf).values())
    assert written_lines + counted == len(lines)


@pytest.mark.parametrize("form", ["json", "plain"])
def test_a_concealed_secret_appears_in_no_message(form):
    conceal(SECRET)
    stream = written(form)
    logging.getLogger("any").info("token %s of %r", SECRET, {"authorization": f"Bearer {SECRET}"})
    assert SECRET not in stream.getvalue()
    assert stream.getvalue().count(CONCEALED) == 2


def refuse():
    """Fail with the secret in the error and in its cause."""
    raise RuntimeError(f"refused: {SECRET}") from KeyError(SECRET)


@pytest.mark.parametrize("form", ["json", "plain"])
def test_a_concealed_secret_appears_in_no_exception(form):
    conceal(SECRET)
    stream = written(form)
    try:
        refuse()
    except RuntimeError:
        logging.getLogger("any").exception("failed")
    assert "RuntimeError" in stream.getvalue()
    assert SECRET not in stream.getvalue()


def test_a_word_too_short_for_a_secret_is_not_redacted():
    conceal("token")
    assert without_secrets("the token is renewed") == "the token is renewed"


def test_a_message_below_the_level_is_not_written():
    stream = written(level="WARNING")
    logging.getLogger("any").info("quiet")
    assert stream.getvalue() == ""


def test_a_second_setup_replaces_the_first():
    first, second = written(), written()
    logging.getLogger("any").info("once")
    assert first.getvalue() == ""
    assert len(objects(second)) == 1


def test_the_request_line_of_every_http_call_is_not_logged():
    stream = written()
    logging.getLogger("httpx").info("HTTP Request: GET ...")
    assert stream.getvalue() == ""


# --- a disk that is full ---------------------------------------------------------------------------------------


@contextmanager
def full_disk(size_bytes):
    """RLIMIT_FSIZE stands in for it: no file may grow beyond that."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def log_file(path):
    file = path.open("a")
    logs.set_up("track-b", ManualClock(NINE), stream=file)
    return file


def test_after_a_full_disk_the_log_goes_on_and_states_the_lost_lines(tmp_path):
    path = tmp_path / "track-b.log"
    with log_file(path):
        logging.getLogger("any").info("before")
        with full_disk(path.stat().st_size):
            for number in range(5_000):  # more than any buffer keeps
                logging.getLogger(f"any.{number}").info("lost")  # a logger each: none repeats another's line
        logging.getLogger("any").info("after")
        logging.getLogger("any").info("and on")
    lines = [msgspec.json.decode(line) for line in path.read_text().splitlines()]
    assert [line["event"] for line in lines] == [
        "before",
        "5000 lines were lost, the disk was full",
        "after",
        "and on",
    ]
    assert (lines[1]["level"], lines[1]["process"]) == ("error", "track-b")


def test_a_line_that_the_full_disk_cut_spoils_no_other_line(tmp_path):
    path = tmp_path / "track-b.log"
    with log_file(path):
        logging.getLogger("any").info("before")
        with full_disk(path.stat().st_size + 10):
            logging.getLogger("any").info("cut")
            logging.getLogger("any").info("lost")
        logging.getLogger("any").info("after")
    first, cut, *rest = path.read_text().splitlines()
    assert len(cut) == 10
    assert [msgspec.json.decode(line)["event"] for line in (first, *rest)] == [
        "before",
        "2 lines were lost, the disk was full",
        "after",
    ]


def test_a_log_on_a_full_device_ends_nothing():
    with Path("/dev/full").open("w") as file:
        logs.set_up("track-b", ManualClock(NINE), stream=file)
        logging.getLogger("any").error("lost")


# --- heads ---------------------------------------------------------------------------------------------------

HEAD = logs.Head("config/observer.toml", "main", ["first", "second"])


@pytest.mark.parametrize("form", ["json", "plain"])
def test_a_log_begins_with_its_head_whatever_its_level(form):
    stream = io.StringIO()
    logs.set_up("track-b", ManualClock(NINE), form=form, level="ERROR", stream=stream, head=HEAD)
    logging.getLogger("any").warning("not written")
    [line] = stream.getvalue().splitlines()
    path = Path("config/observer.toml").absolute()
    of_process = f"pid={os.getpid()} instance=main accounts=first,second configuration={path}"
    assert re.search(rf"log begins: version=\S+ {re.escape(of_process)}", line)


def test_a_second_file_gets_the_log_with_the_head_while_it_is_open():
    stream, second = io.StringIO(), io.StringIO()
    logs.set_up("track-b", ManualClock(NINE), form="plain", stream=stream, head=HEAD)
    with logs.writing_also(second, "track-b", ManualClock(NINE)):
        logging.getLogger("any").info("in both")
    logging.getLogger("any").info("in the first")
    head, line = objects(second)
    assert head["event"].startswith("log begins: ")
    assert line["event"] == "in both"
    assert stream.getvalue().splitlines()[-1].endswith("in the first")


@given(st.lists(st.binary(max_size=60).map(lambda part: part.replace(b"\n", b"")), max_size=8))
def test_a_head_is_found_in_any_lines_and_made_of_no_others(others):
    stream = io.StringIO()
    logs.set_up("track-b", ManualClock(NINE), stream=stream, head=HEAD)
    before = b"".join(b"%s\n" % other for other in others)
    assert logs.continued_head(before, before) is None
    own = stream.getvalue().encode()
    found = logs.continued_head(before + own + before, own)
    assert found is not None
    assert msgspec.json.decode(found) == {**objects(stream)[0], "event": HEAD.text().replace("begins", "goes on", 1)}
