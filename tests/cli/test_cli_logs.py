"""`observer logs`: the processes' files merged by time, over rotations, whatever stands in them."""

import contextlib
import heapq
import io
import itertools
import json
import logging
import os
import pty
import signal
import sys
import tempfile
import tracemalloc
from operator import attrgetter
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from observer.base import logs
from observer.base.clock import ManualClock
from observer.base.text import plain_text
from observer.base.units import NS_PER_S
from observer.cli.app import command_line
from observer.cli.log_files import ProcessLog
from observer.cli.log_lines import HumanLines, log_entries
from observer.cli.run import own_log
from observer.demo.configuration import DemoConfiguration, write_demo_configuration
from observer.supervisor.output import rotate
from observer.system.config import load_settings
from observer.system.host import NAME
from tests.cli.typed import command
from tests.privileges import at_work
from tests.waiting import until

TRACE = b'Traceback (most recent call last):\n  File "x.py", line 1\nValueError: \x1b]0;owned\x07\n'


def line(second, event, level="info", process="any"):
    minutes, seconds = divmod(second, 60)
    time = f"2026-11-18T{9 + int(minutes) // 60:02d}:{int(minutes) % 60:02d}:{seconds:06.3f}+09:00"
    fields = {"time": time, "level": level, "process": process, "logger": "x", "event": event}
    return json.dumps(fields, separators=(",", ":")).encode() + b"\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data" / "logs").mkdir(parents=True)
    (tmp_path / "observer.toml").write_text(f'[run]\ndata = "{tmp_path}/data"\nruntime = "{tmp_path}/run"\n')
    return tmp_path


@pytest.fixture
def typed(folder):
    options = ["--config", str(folder / "observer.toml")]
    return lambda *words: CliRunner().invoke(command_line(), ["logs", *words, *options])


def write(folder, name, *contents):
    path = folder / "data" / "logs" / f"{name}.log"
    with path.open("ab") as out:
        out.write(b"".join(contents))
    return path


def events(ran):
    return [json.loads(each)["event"] for each in ran.stdout.splitlines()]


def test_the_logs_of_all_processes_are_merged_by_time(folder, typed):
    write(folder, "track-b", line(1, "first"), line(4, "fourth"))
    write(folder, "track-a", line(2, "second", "warning"), line(3, "third"))
    assert typed().stdout.splitlines() == [
        "11-18 09:00:01.000 INFO     track-b  first",
        "11-18 09:00:02.000 WARNING  track-a  second",
        "11-18 09:00:03.000 INFO     track-a  third",
        "11-18 09:00:04.000 INFO     track-b  fourth",
    ]
    assert events(typed("--json", "track-a")) == ["second", "third"]


def test_other_output_stands_as_it_is_below_its_process_and_in_its_place(folder, typed):
    write(folder, "track-b", line(1, "begins"), TRACE, line(5, "begins again"))
    write(folder, "track-a", line(3, "goes on"))
    assert typed().stdout.splitlines() == [
        "11-18 09:00:01.000 INFO     track-b  begins",
        "track-b:",
        "Traceback (most recent call last):",
        '  File "x.py", line 1',
        "ValueError: ]0;owned",
        "11-18 09:00:03.000 INFO     track-a  goes on",
        "11-18 09:00:05.000 INFO     track-b  begins again",
    ]


def test_a_line_that_a_killed_process_began_does_not_hide_the_next_one(folder, typed):
    write(folder, "track-b", line(1, "never finished")[:40], line(2, "the next start"))
    assert events(typed("--json"))[1:] == ["the next start"]


def test_lines_since_level_and_number_choose(folder, typed):
    levels = ("debug", "info", "warning", "error", "critical")
    write(folder, "track-b", *(line(second, str(second), levels[second % 5]) for second in range(200)))
    assert events(typed("--json")) == [str(second) for second in range(100, 200)]
    assert events(typed("--json", "-n", "0")) == [str(second) for second in range(200)]
    assert events(typed("--json", "-n", "2", "--level", "error")) == ["198", "199"]
    assert events(typed("--json", "--since", "2026-11-18T09:03:17")) == ["197", "198", "199"]
    assert events(typed("--json", "--since", "2026-11-18T09:03:17", "-n", "1")) == ["199"]


def test_rotated_files_are_read_across_their_borders(folder, typed):
    lines = [line(second / 100, f"{second} {'and so on ' * 20}") for second in range(3_000)]
    for at in range(0, 3_000, 600):
        rotate(write(folder, "track-b", *lines[at : at + 600]), 131_072, 9)
    assert (folder / "data" / "logs" / "track-b.log.3").exists()
    assert [int(event.split()[0]) for event in events(typed("--json", "-n", "0"))] == list(range(3_000))


def test_all_lines_are_read_one_after_another_and_not_into_memory(folder):
    for name in ("track-a", "track-b"):
        rotate(write(folder, name, *(line(each / 100, f"{each} {'x' * 400}") for each in range(1_500))), 131_072, 9)
    asked: list[str] = []

    def wanted(entry):
        asked.append(entry.text)
        return True

    parts = [ProcessLog(folder / "data" / "logs", name) for name in ("track-a", "track-b")]
    found = heapq.merge(*(part.all_since(wanted) for part in parts), key=attrgetter("at_ns"))
    assert [next(found).process for _ in range(4)] == ["track-a", "track-b"] * 2
    assert len(asked) <= 6
    assert len(list(found)) == 2 * 1_500 - 4


def test_of_a_long_other_output_only_the_last_lines_are_held_in_memory(folder):
    (folder / "any.log").write_bytes(line(1, "it begins") + b"a line of a library\n" * 200_000)
    tracemalloc.start()
    found = ProcessLog(folder, "any").newest(lambda _: True, 100)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [each.text for each in found] == ["a line of a library"] * 100
    assert {each.at_ns for each in found} == {log_entries("any", line(1, "it begins").strip())[0].at_ns}
    assert peak_bytes < 5_000_000, "200,000 lines of other output would take 30 MB"


def test_lines_since_a_time_are_found_without_all_before_it(folder):
    lines = [line(each, f"{each} {'x' * 500}") for each in range(3_000)]
    lines[2_499] += TRACE  # behind an older line: as old
    lines[2_600] += TRACE
    write(folder, "any", *lines)
    since_ns = log_entries("any", lines[2_500].strip())[0].at_ns
    found = list(ProcessLog(folder / "data" / "logs", "any").all_since(lambda _: True, since_ns))
    assert [each.text.split()[0] for each in found if each.line] == [str(each) for each in range(2_500, 3_000)]
    assert [each.at_ns for each in found if not each.line] == [since_ns + 100 * NS_PER_S] * 3


def test_other_output_before_the_first_line_takes_its_time(folder, typed):
    write(folder, "track-b", TRACE, line(5, "begins"))
    write(folder, "track-a", line(1, "before"))
    assert [event.split()[0] for event in events(typed("--json", "-n", "0"))] == [
        *("before", "Traceback", "File", "ValueError:", "begins")
    ]
    assert len(events(typed("--json", "--since", "2026-11-18T09:00:02"))) == 4


@pytest.mark.parametrize("memory", [False, True], ids=["disk", "memory"])
@pytest.mark.parametrize("before", [0, 500, 3_000], ids=["in a kept file", "later", "in the present one"])
def test_reading_all_gives_each_line_once_though_the_file_is_rotated_meanwhile(tmp_path, memory, before):
    with tempfile.TemporaryDirectory(dir="/dev/shm" if memory else tmp_path) as name:
        path = Path(name) / "a.log"
        path.write_bytes(b"".join(line(each, f"{each} {'x' * 300}") for each in range(1_000)))
        rotate(path, 131_072, 9)
        with path.open("ab") as out:
            out.writelines(line(each, f"{each} {'x' * 300}") for each in range(1_000, 4_000))
        log = ProcessLog(Path(name), "a")
        found = log.all_since(lambda _: True, is_followed=True)
        seen = list(itertools.islice(found, before + 1))
        assert rotate(path, 131_072, 9)
        with path.open("ab") as out:
            out.writelines(line(each, f"{each} {'x' * 300}") for each in range(4_000, 8_000))
        seen += [*found, *log.new_entries()]
        assert [int(each.text.split()[0]) for each in seen] == list(range(8_000))


def test_names_that_are_none_and_times_that_are_none_are_one_line(folder, typed):
    ran = typed()
    assert "`observer run` writes them" in str(ran.exception)
    write(folder, "track-b", line(1, "x"))
    assert "did you mean track-b?" in str(typed("trackb").exception)
    assert "--since soon: give a time such as 30m" in str(typed("--since", "soon").exception)


@given(st.binary(max_size=300))
def test_no_bytes_end_it_or_steer_the_terminal(content):
    human = HumanLines(7, coloured=False)
    for each in content.split(b"\n"):
        for entry in log_entries("track-b", each):
            assert all(shown == plain_text(shown) for shown in human.lines(entry))


@given(st.text(max_size=100), st.text(max_size=10))
def test_a_log_line_of_any_text_cannot_steer_the_terminal(event, level):
    [entry] = log_entries("track-b", line(1, event, level).removesuffix(b"\n"))
    assert all(shown == plain_text(shown) for shown in HumanLines(7, coloured=False).lines(entry))


# --- following -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("memory", [False, True], ids=["disk", "memory"])
def test_following_gives_each_line_once_over_rotations(tmp_path, memory):
    with tempfile.TemporaryDirectory(dir="/dev/shm" if memory else tmp_path) as name:
        log = ProcessLog(Path(name), "a")
        path = Path(name) / "a.log"
        seen: list[str] = []
        path.write_bytes(line(0, "0"))
        seen += [entry.text for entry in log.all_since(lambda _: True, is_followed=True)]
        number = 1
        for step in range(60):
            with path.open("ab") as out:
                for _ in range(40 + 37 * (step % 5)):
                    out.write(line(number, f"{number} {'x' * (number % 700)}"))
                    number += 1
            if step % 3:
                rotate(path, 131_072, 9)
            if step % 4 != 2:  # sometimes more than one rotation between two looks
                seen += [entry.text.split()[0] for entry in log.new_entries()]
        seen += [entry.text.split()[0] for entry in log.new_entries()]
        assert seen == [str(each) for each in range(number)]


def test_following_waits_for_the_end_of_a_line(tmp_path):
    path = tmp_path / "a.log"
    path.write_bytes(line(1, "whole") + line(2, "in two parts")[:30])
    log = ProcessLog(tmp_path, "a")
    assert [entry.text for entry in log.all_since(lambda _: True, is_followed=True)] == ["whole"]
    assert log.new_entries() == []
    with path.open("ab") as out:
        out.write(line(2, "in two parts")[30:])
    assert [entry.text for entry in log.new_entries()] == ["in two parts"]


def test_a_file_that_is_replaced_is_followed_from_its_begin(tmp_path):
    path = tmp_path / "a.log"
    path.write_bytes(line(1, "old") * 3)
    log = ProcessLog(tmp_path, "a")
    log.newest(lambda _: True, 1, is_followed=True)
    path.unlink()
    assert log.new_entries() == []
    path.write_bytes(line(2, "new"))
    assert [entry.text for entry in log.new_entries()] == ["new"]


def test_ctrl_c_ends_following_with_status_0_and_new_processes_join(folder):
    write(folder, "track-b", line(1, "before"))
    with at_work(command("logs", "-f", "--config", folder / "observer.toml"), folder) as ran:
        assert ran.output.readline().endswith("track-b  before\n")
        write(folder, "track-a", line(2, "a new process"))
        assert ran.output.readline().endswith("track-a  a new process\n")
        ran.send(signal.SIGINT)
        assert ran.wait() == 0


@pytest.mark.parametrize(("variables", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_a_terminal_gets_colours_where_it_wants_them(folder, variables, coloured):
    write(folder, "track-b", line(1, "it failed", "error"))
    ours, theirs = pty.openpty()
    environment = {"TERM": "xterm", **variables}
    typed = command("logs", "--config", folder / "observer.toml", environment=environment)

    def show():
        os.dup2(theirs, 1)
        os.close(theirs)
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - for its whole life
        os.environ.pop("NO_COLOR", None)
        typed()

    with at_work(show, folder) as ran:
        os.close(theirs)
        shown = bytearray()
        until(lambda: b"failed" in read(ours, shown) or ran.poll() is not None, "its end")
    assert (b"\x1b[31m" in read(ours, shown)) == coloured
    os.close(ours)


def read(descriptor, before):
    """What a terminal showed before, and now."""
    with contextlib.suppress(OSError):  # the other side is closed
        before += os.read(descriptor, 65_536)
    return before


def test_the_log_of_the_supervisor_is_a_file_that_begins_with_its_head(folder, typed, monkeypatch):
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", logging.WARNING)
    settings = load_settings(write_demo_configuration(folder, DemoConfiguration(symbols=10, seed=7)))
    stderr = io.StringIO()
    head = settings.log_head(folder / "observer.toml")
    logs.set_up(NAME, ManualClock(1), form="plain", stream=stderr, head=head, begins=False)
    with own_log(settings, ManualClock(1)):
        assert stderr.getvalue() == ""
        root.info("it runs")
    first, line = events(typed("--json", "supervisor"))
    assert first.startswith("log begins: version=")
    assert first.endswith(f"configuration={folder / 'observer.toml'}")
    assert line == "it runs"
    assert [each.partition(": ")[2][:10] for each in stderr.getvalue().splitlines()] == ["log begins", "it runs"]
