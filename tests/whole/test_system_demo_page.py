"""A demo at a terminal: its page is there from the first line on, and after the day until ctrl-C."""

import os
import pty
import re
import signal
import subprocess

import httpx
import pytest

from tests.folders import short_folder
from tests.waiting import DEADLINE_S
from tests.whole.running import OBSERVER, SYMBOLS

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(600)]

SPEED = 360  # as the day of the other tests: on a busy machine, too, it stores all


def test_the_page_of_a_demo_is_open_while_the_day_runs_and_after_it_until_ctrl_c():
    ours, theirs = pty.openpty()
    with short_folder() as folder, open(ours, "rb", buffering=0) as terminal:  # noqa: PTH123 - a descriptor
        command = [OBSERVER, "demo", "--symbols", str(SYMBOLS), "--speed", str(SPEED), "--folder", str(folder / "d")]
        with subprocess.Popen(command, stdout=theirs, stderr=theirs, cwd=folder) as running:
            os.close(theirs)
            printed = until_printed(terminal, r"The page of the day: (http://\S+/)")
            address = printed[1]
            ended = until_printed(terminal, r"the day is at (http://\S+/) until ctrl-C")
            assert ended[1] == address
            assert httpx.get(f"{address}api/days").json()["days"] != []
            running.send_signal(signal.SIGINT)
            assert running.wait(DEADLINE_S) == 0


def until_printed(terminal, pattern):
    """The first match in what comes from the terminal; its end is an error."""
    found, text = None, ""
    while found is None:
        text += terminal.read(4_096).decode(errors="replace")
        found = re.search(pattern, re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text))
    return found
