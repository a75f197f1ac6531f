"""`observer top`: the screen of each state at each size, and a terminal that is as before at any end."""

import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import struct
import sys
import termios
from collections.abc import Callable

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from bus.events import UniverseBuilt
from observer.base.text import plain_text
from observer.cli.app import command_line
from observer.cli.top_screen import screen
from observer.cli.top_texts import fit
from observer.demo.configuration import DemoConfiguration, write_demo_configuration
from observer.web.model import Universe
from tests.builders import trade
from tests.cli.typed import command, typed_system
from tests.folders import short_folder
from tests.ports import listening
from tests.privileges import Child
from tests.store.migrated import make_database
from tests.waiting import until
from tests.web.page_states import FOUR_STATES as STATES

SIZES = [(80, 24), (120, 40)]
NUMBER = re.compile(r"[0-9][0-9.,:]*[0-9]|[0-9]")
ENTERED, LEFT = b"\x1b[?1049h\x1b[?25l", b"\x1b[?25h\x1b[?1049l"


def shown(state, columns, rows):
    return [line.plain for line in screen(state, columns, rows)]


def worker_down():
    """With figures of the stream that are four minutes old."""
    state = STATES["down"]()
    account = msgspec.structs.replace(state.board.accounts[0], is_connected=False)
    board = msgspec.structs.replace(state.board, known_ms=state.now_ms - 245_000, accounts=[account])
    return msgspec.structs.replace(state, board=board)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", STATES)
def test_each_state_fits_the_screen_and_no_number_is_cut(name, size):
    state = STATES[name]()
    lines = screen(state, *size)
    assert len(lines) <= size[1]
    assert max(line.cell_len for line in lines) <= size[0]
    whole = set(NUMBER.findall("\n".join(shown(state, 4_000, 400))))
    for columns, rows in SIZES:  # figures have another form where there is more room
        whole |= set(NUMBER.findall("\n".join(shown(state, columns * 10, rows))))
    assert set(NUMBER.findall("\n".join(line.plain for line in lines))) <= whole


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", STATES)
def test_each_state_answers_first_whether_all_is_well_and_has_every_part(name, size):
    state = STATES[name]()
    lines = shown(state, *size)
    assert lines[0].startswith(f" {state.level.upper()}  {state.headline[:40]}")
    beginnings = [line.split()[0] for line in lines[3:] if line and not line.startswith(" ")]
    for part in ("processes", "alerts", "slots", "gaps", "sweeps", "stored", "backups", "universe"):
        assert part in beginnings


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_worker_that_is_down_is_named_with_its_end_and_its_alert(size):
    text = "\n".join(shown(worker_down(), *size))
    assert "x track-b" in text
    assert "SIGSEGV" in text
    assert "process_fatal:track-b" in text
    assert "not connected" in text


@pytest.mark.parametrize("reported", [None, False], ids=["since midnight", "closed in the evening"])
@pytest.mark.parametrize(
    ("minute", "text"),
    [(300.0, "not connected: the market is closed, next 08:35"), (1_200.0, "not connected: the market is closed")],
)
def test_at_night_no_connection_is_due(minute, text, reported):
    state = STATES["night"]()
    accounts = [msgspec.structs.replace(each, is_connected=reported) for each in state.board.accounts]
    board = msgspec.structs.replace(state.board, accounts=accounts)
    timeline = msgspec.structs.replace(state.timeline, now_minute=minute)
    night = msgspec.structs.replace(state, board=board, timeline=timeline)
    slots = next(line for line in shown(night, 200, 40) if line.startswith("slots"))
    assert text in slots
    assert ("next" in slots) is ("next" in text)
    day = msgspec.structs.replace(night, phase="FULL_OPERATION")
    due = next(line for line in shown(day, 200, 40) if line.startswith("slots"))
    assert ("connection not known" if reported is None else "not connected") in due
    assert "closed" not in due


def test_old_figures_have_their_age_and_missing_ones_their_reason():
    assert "4 min old" in "\n".join(shown(worker_down(), 120, 40))
    unread = msgspec.structs.replace(STATES["night"](), universe=Universe(known_ms=0, missing="it is being read"))
    assert "universe  it is being read" in "\n".join(shown(unread, 80, 24))
    assert "since 11-18 10:40 until 11-18 10:55, 14 times" in "\n".join(shown(STATES["past"](), 120, 60))
    assert "Only the running system knows this" in "\n".join(shown(STATES["past"](), 80, 24))


@given(
    st.sampled_from([make() for make in STATES.values()]),
    st.integers(1, 300),
    st.integers(1, 100),
    st.text(max_size=200),
)
def test_a_screen_of_any_size_and_text_keeps_to_its_size(state, columns, rows, text):
    lines = screen(msgspec.structs.replace(state, headline=text, instance=text[:9]), columns, rows)
    assert len(lines) <= rows
    assert all(line.cell_len <= columns for line in lines)
    assert all(line.plain == plain_text(line.plain) for line in lines)


@given(st.text("0123456789.,: abc삼", max_size=40), st.integers(0, 40))
def test_a_text_that_is_cut_ends_before_a_number(text, width):
    fitted = fit(text, width)
    if fitted != text:
        assert not re.search(r"[0-9.,:]…", fitted)


# --- the command ---------------------------------------------------------------------------------------------


@pytest.fixture
def folder():
    with short_folder() as found:
        yield found


@pytest.fixture
def typed(folder):
    built = UniverseBuilt("kis", "kr_stocks", "2026-11-18", "2026-11-17", 1, 0, 0, 4_000.0)
    return typed_system(folder, built, trade(1), trade(2))


def test_a_stored_day_is_one_screen_or_json(typed):
    ran = typed("top", "--day", "last")
    assert ran.exit_code == 0
    lines = ran.stdout.splitlines()
    assert "a stored day" in lines[1]
    assert any("trades 2" in line for line in lines)
    state = json.loads(typed("top", "--day", "2026-11-18", "--json").stdout)
    assert (state["day"], state["storage"]["rows"]["trades"]) == ("2026-11-18", 2)


def test_no_system_and_no_stored_day_are_one_line(typed):
    ran = typed("top", "--once")
    assert "no system runs here" in str(ran.exception)
    assert getattr(ran.exception, "exit_status", None) == 2
    ran = typed("top", "--once", "--day", "2020-01-02")
    assert getattr(ran.exception, "exit_status", None) == 1


class Shown:
    """`observer top` on a terminal of its own."""

    def __init__(self, folder, *words, size=(80, 24)):
        self._ours, self._theirs = pty.openpty()
        self.resize(*size)
        self.before = termios.tcgetattr(self._theirs)
        typed = command("top", *words, "--config", folder / "observer.toml", environment={"TERM": "xterm"})

        def show():
            """On the session's own terminal, whose keys are signals."""
            for number in (0, 1):
                os.dup2(self._theirs, number)
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115 - for its whole life
            for name in {"COLUMNS", "LINES", "NO_COLOR"} & os.environ.keys():
                del os.environ[name]
            typed()

        self.process = Child(show, folder)
        os.set_blocking(self._ours, False)
        self.output = b""

    def read(self):
        with contextlib.suppress(OSError):
            while content := os.read(self._ours, 65_536):
                self.output += content
        return self.output

    def wait_for(self, content):
        until(lambda: content in self.read() or self.process.poll() is not None, f"{content!r} on the screen")
        assert content in self.output, (self.output, self.process.poll())

    def type(self, keys):
        os.write(self._ours, keys)

    def resize(self, columns, rows):
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def attributes(self):
        return termios.tcgetattr(self._theirs)

    def end(self):
        until(lambda: self.read() is not None and self.process.poll() is not None, "its end")
        self.read()
        return self.process.wait()

    def close(self):
        self.process.close()
        os.close(self._ours)
        os.close(self._theirs)


@contextlib.contextmanager
def showing(folder, *words):
    found = Shown(folder, *words)
    try:
        yield found
    finally:
        found.close()


ENDS: dict[str, Callable[[Shown], None]] = {
    "q": lambda top: top.type(b"q"),
    "ctrl-C": lambda top: top.type(b"\x03"),
    "ctrl-backslash": lambda top: top.type(b"\x1c"),
    "SIGTERM": lambda top: top.process.send(signal.SIGTERM),
    "SIGHUP": lambda top: top.process.send(signal.SIGHUP),
}


@pytest.mark.parametrize("name", ENDS)
def test_the_terminal_is_as_before_after_any_end(typed, folder, name):
    with showing(folder, "--day", "last") as top:
        top.wait_for(b"a stored day")
        assert top.attributes() != top.before
        ENDS[name](top)
        assert top.end() == 0
        assert top.output.startswith(ENTERED)
        assert top.output.endswith(LEFT)
        assert top.attributes() == top.before


def test_a_new_size_is_a_new_screen_and_ctrl_z_gives_the_terminal_back(typed, folder):
    with showing(folder, "--day", "last") as top:
        top.wait_for(b"a stored day")
        drawn = top.read().count(b"a stored day")
        top.resize(120, 40)
        until(lambda: top.read().count(b"a stored day") > drawn, "a screen of the new size")
        top.type(b"\x1a")
        top.wait_for(LEFT)
        until(lambda: top.attributes() == top.before, "the terminal's attributes")
        top.process.send(signal.SIGCONT)
        until(lambda: top.read().count(ENTERED) == 2, "the screen again")
        top.type(b"q")
        assert top.end() == 0
        assert top.attributes() == top.before


def test_a_system_that_does_not_answer_is_shown_as_critical(folder, monkeypatch):
    monkeypatch.setattr("observer.cli.top.FIRST_S", 0.2)
    write_demo_configuration(folder, DemoConfiguration(symbols=10, seed=7))
    (folder / "data").mkdir()
    (folder / "run").mkdir(mode=0o700, exist_ok=True)
    make_database(f"sqlite:///{folder / 'data' / 'observer.db'}")
    with listening(folder / "run/control"):
        with showing(folder) as top:
            top.wait_for(b"CRITICAL")
            top.type(b"q")
            assert top.end() == 0
        ran = CliRunner().invoke(command_line(), ["top", "--once", "--json", "--config", str(folder / "observer.toml")])
    assert ran.exit_code == 1
    assert json.loads(ran.stdout)["level"] == "critical"
