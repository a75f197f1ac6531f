"""Prints the calls of each second of a running demo whose broker refuses every call for a while.

`python -m tests.brokers.overloaded_demo [--speed 1] [--for 30]`: starts `observer demo`, waits until it calls at full
speed, and asks the broker's own counters each second. Seconds are market time.
"""

import argparse
import contextlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx

from observer.system.config import load_settings
from tests.folders import short_folder

BUSY_PER_S = 10  # calls a second from which on the demo counts as busy
STARTS_S = 300.0


def counted(url):
    """Calls that arrived, and those that were refused by the fault or by the limit."""
    counters = httpx.get(f"{url}/simulator/counters", trust_env=False).json()
    refused = counters["faults"].get("rest_busy", 0)
    calls = sum(count for name, count in counters["requests"].items() if not name.startswith("/oauth2/"))
    return calls + refused, refused + counters["rate_errors"]


def rows(url, speed, seconds, before=(0, 0)):
    """Calls and refusals in each of so many market seconds."""
    calls, refused = counted(url)
    next_s = time.monotonic()
    for second in range(seconds):
        next_s += 1 / speed
        time.sleep(max(0.0, next_s - time.monotonic()))
        calls_now, refused_now = counted(url)
        yield second, calls_now - calls, refused_now - refused
        calls, refused = calls_now, refused_now


def transcript(url, speed, for_s):
    """Print ten seconds before the fault, the fault, and thirty seconds after it."""
    say("second | calls | refused")
    for second, calls, refused in rows(url, speed, 10):
        say(f"{second - 10:6} | {calls:5} | {refused:7}")
    fault = {"kind": "rest_busy", "for_s": for_s}
    httpx.post(f"{url}/simulator/faults", json=fault, trust_env=False).raise_for_status()
    for second, calls, refused in rows(url, speed, for_s + 30):
        say(f"{second:6} | {calls:5} | {refused:7}" + (" | the broker refuses every call" if second < for_s else ""))


def say(line):
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def address(folder):
    """The broker's address, once the demo's configuration names it and it answers."""
    end_s = time.monotonic() + STARTS_S
    while time.monotonic() < end_s:
        for file in folder.glob("*.toml"):
            with contextlib.suppress(Exception):
                url = load_settings(file).broker.rest_url
                counted(url)
                return url
        time.sleep(0.5)
    raise SystemExit("the demo's broker did not answer")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--speed", type=float, default=1.0)
    parser.add_argument("--for", dest="for_s", type=int, default=30)
    words = parser.parse_args()
    with short_folder() as place:
        folder = Path(place) / "demo"
        options = ["--speed", f"{words.speed}", "--symbols", "1500", "--folder", str(folder)]
        command = [sys.executable, "-m", "observer", "demo", *options]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as demo:
            try:
                url = address(folder)
                while not any(calls >= BUSY_PER_S for _, calls, _ in rows(url, words.speed, 3)):
                    pass
                transcript(url, words.speed, words.for_s)
            finally:
                demo.send_signal(signal.SIGINT)
                demo.wait()


if __name__ == "__main__":
    main()
