"""When an account's symbols move: not after a short loss, and not before the account had time to connect."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observer.brokers.accounts.failover import StreamOutages

NS = 1_000_000_000


def outages(now_s=0):
    return StreamOutages(["main", "second"], now_s * NS, after_s=30)


# What happens at which second, and who is closed then; the accounts are watched from the second in front on.
SCRIPTS = {
    "has time to connect for the first time": "5: up second 5, closed 34, closed 35 main",
    "none closes while no stream is up, and each has time once the first one is": """
        5: up second 5, down second 20, closed 40, closed 90, up second 91, closed 120, closed 121 main
    """,
    "stays closed while no stream is up": """
        0: up second 0, closed 30 main, down second 40, closed 90 main, up main 110, closed 139, closed 140 second
    """,
    "closed by an earlier process, until its stream comes up": """
        5: up second 5, stay main 5, closed 5 main, closed 6 main, up main 0, closed 6
    """,
    "a moment's loss": "0: up main 0, up second 0, down main 100, closed 129, closed 130 main",
    "failed attempts do not restart the time": """
        0: up main 0, up second 0, down main 100, down main 125, closed 130 main
    """,
    "open when the stream is back": "0: up second 0, closed 30 main, up main 0, closed 30",
}


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_an_account_is_closed_while_another_could_stream_its_symbols(script):
    begins_s, _, steps = script.partition(":")
    watched = outages(int(begins_s))
    for step in steps.split(","):
        match step.split():
            case ["up", account, second]:
                watched.came_up(account, int(second) * NS)
            case ["down", account, second]:
                watched.went_down(account, int(second) * NS)
            case ["stay", account, _]:
                watched.stay_down([account, "second", "removed"])
            case ["closed", second, *accounts]:
                assert watched.closed(int(second) * NS) == set(accounts), step


@given(st.lists(st.tuples(st.sampled_from(["up", "down"]), st.integers(1, 40)), max_size=20))
def test_an_account_is_closed_exactly_after_thirty_seconds_without_stream(steps):
    watched = outages()
    watched.came_up("second", 0)
    now_s = 0
    down: int | None = 0
    for kind, wait_s in steps:
        if kind == "up":
            watched.came_up("main", now_s * NS)
            down = None
        else:
            watched.went_down("main", now_s * NS)
            down = now_s if down is None else down
        now_s += wait_s
        assert ("main" in watched.closed(now_s * NS)) == (down is not None and now_s - down >= 30)
