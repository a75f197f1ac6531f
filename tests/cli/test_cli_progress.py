"""The bar of a master file's download, and a person who does not wait for its end."""

import asyncio
import http.server
import io
import os
import pty
import signal
import subprocess
import sys
import threading

import pytest
import tomli_w
from rich.console import Console

from observer.cli import progress
from observer.cli.progress import bars_of_downloads
from tests.waiting import DEADLINE_S

READ_BYTES = 65_536


def written(console, receive):
    """The console's text after `receive` reported a download's progress to the bars and the loop's timers ran."""

    async def download():
        with bars_of_downloads(console) as bars:
            receive(bars)
            for _ in range(2):  # the loop looks at its timers once a turn
                await asyncio.sleep(0)

    asyncio.run(download())
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def terminal(*, real=True):
    return Console(file=io.StringIO(), force_terminal=real, width=80)


def both(bars):
    bars("NASD")(40_000, 100_000)
    bars("SEHK")(7_000, None)


def test_a_download_that_takes_long_has_a_bar_for_each_exchange_with_its_bytes(monkeypatch):
    monkeypatch.setattr(progress, "SHOWN_AFTER_S", 0.0)
    text = written(terminal(), both)
    assert all(part in text for part in ("NASD", "40.0/100.0 kB", "SEHK", "7.0/? kB"))


def test_a_download_that_ends_soon_has_no_bar():
    assert "NASD" not in written(terminal(), both)


def test_nothing_is_written_where_there_is_no_terminal(monkeypatch):
    monkeypatch.setattr(progress, "SHOWN_AFTER_S", 0.0)
    assert written(terminal(real=False), both) == ""


# --- ctrl-C ---


class Stalling(http.server.BaseHTTPRequestHandler):
    """Sends 40 of 100 kB and nothing more until `over` is set."""

    over = threading.Event()

    def do_HEAD(self):
        self.send_response(200)
        self.send_header("Content-Length", "100000")
        self.end_headers()

    def do_GET(self):
        self.do_HEAD()
        self.wfile.write(b"x" * 40_000)
        self.wfile.flush()
        self.over.wait()

    def log_message(self, format, *args):  # noqa: A002 - the name is the base class's
        """Nothing."""


@pytest.fixture
def configuration(tmp_path):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stalling)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    document = {
        "run": {"data": str(tmp_path / "data"), "runtime": str(tmp_path / "run")},
        "store": {"url": f"sqlite:///{tmp_path / 'data' / 'observer.db'}"},
        "kis": {"files_url": f"http://127.0.0.1:{server.server_port}"},
    }
    (tmp_path / "data").mkdir()
    path = tmp_path / "observer.toml"
    path.write_text(tomli_w.dumps(document))
    try:
        yield path
    finally:
        Stalling.over.set()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.slow
def test_ctrl_c_in_a_download_ends_it_and_leaves_nothing_behind(configuration):
    ours, theirs = pty.openpty()
    words = ("master", "update", "--exchange", "NASD", "--config", str(configuration))
    process = subprocess.Popen(
        [sys.executable, "-m", "observer", *words],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80"},
    )
    os.close(theirs)
    try:
        seen = b""
        while b"40.0/100.0 kB" not in seen:
            seen += os.read(ours, READ_BYTES)
        os.killpg(process.pid, signal.SIGINT)
        seen = b""
        while part := _read(ours):
            seen += part
        assert process.wait(DEADLINE_S) == 128 + signal.SIGINT
        assert b"Traceback" not in seen
        assert seen.endswith(b"\x1b[2K")  # the bar's line is wiped
        master = configuration.parent / "data" / "master"
        assert [path.name for path in master.rglob("*") if path.is_file()] == []
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def _read(descriptor):
    """The received bytes; empty once the other side is closed."""
    try:
        return os.read(descriptor, READ_BYTES)
    except OSError:
        return b""
