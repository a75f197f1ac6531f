"""`observer tail`: committed events as the feed brings them."""

import asyncio
import contextlib
import json
import signal
from collections.abc import Callable

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given

from bus.delivery import Delivered
from bus.events import PhaseChanged, SlotReleased
from bus.feed import FeedPublisher
from observer.base.text import plain_text
from observer.cli.app import command_line
from observer.cli.event_lines import event_line, json_line
from observer.cli.tables import display_width
from observer.store.kinds import TABLE_NAMES
from tests.builders import trade
from tests.cli.typed import command
from tests.folders import short_folder
from tests.ports import listening
from tests.privileges import Child, at_work
from tests.strategies import events
from tests.waiting import until

PHASE = PhaseChanged("2026-11-18", 1_794_956_400_000_000_000, "IDLE", "WARM_UP")
RELEASED = SlotReleased("main:1", "000660", 1_794_956_400_000_000_000, 1.0, "expired")


@pytest.fixture
def folder():
    with short_folder() as found:
        (found / "run").mkdir(mode=0o700)
        (found / "observer.toml").write_text(f'[run]\nruntime = "{found}/run"\ndata = "{found}/data"\n')
        with listening(found / "run/control"):
            yield found


@pytest.fixture
def publisher(folder):
    found = FeedPublisher(f"ipc://{folder}/run/feed")
    yield found
    found.close()


Started = Callable[..., Child]


@pytest.fixture
def started(folder):
    """What starts the command in a fork."""
    with contextlib.ExitStack() as stack:
        yield lambda *words: stack.enter_context(
            at_work(command("tail", *words, "--config", folder / "observer.toml"), folder)
        )


def ended(ran, publisher, *published):
    """What it printed until it ended, while these events are published again and again."""

    def has_ended():
        publisher.publish([Delivered("track-b", "5" * 32, 1, published)])
        return ran.poll() is not None

    until(has_ended, "its end", every_s=0.02)
    return "" if ran.output.closed else ran.output.read(), ran.errors


def test_events_of_the_named_tables_and_symbols_come_as_lines_until_the_count(started, publisher):
    ran = started("--kind", "trades", "--kind", "slot_releases", "--symbol", "000660.KRX", "--count", "2")
    out, _ = ended(ran, publisher, trade(7), PHASE, RELEASED)
    assert ran.wait() == 0
    lines = out.splitlines()
    assert len(lines) == 2
    assert set(lines) == {"08:00:00.000 slot_releases        000660     slot=main:1 score=1 reason=expired"}


def test_as_json_each_event_has_all_its_fields(started, publisher):
    ran = started("--kind", "trades", "--json", "--count", "1")
    out, _ = ended(ran, publisher, trade(7), PHASE)
    assert json.loads(out) == {"kind": "trades", "event": msgspec.to_builtins(msgspec.structs.asdict(trade(7)))}


def test_without_a_kind_trades_are_left_out_which_it_says(started, publisher):
    ran = started("--count", "1")
    out, err = ended(ran, publisher, trade(7), PHASE)
    assert out == "08:00:00.000 phases               previous=IDLE current=WARM_UP\n"
    assert err.startswith("observer: all but trades, ")


def test_ctrl_c_ends_it_with_status_0(started, publisher):
    ran = started("--kind", "phases")

    async def first_line():
        line = asyncio.create_task(asyncio.to_thread(ran.output.readline))
        while not line.done():
            publisher.publish([Delivered("track-b", "5" * 32, 1, [PHASE])])
            await asyncio.wait([line], timeout=0.02)

    asyncio.run(first_line())
    ran.send(signal.SIGINT)
    assert ran.wait() == 0


def test_it_ends_when_its_reader_does(started, publisher):
    ran = started("--kind", "phases")
    ran.output.close()
    ended(ran, publisher, PHASE)
    assert ran.wait() == 1


def test_a_writer_that_is_another_one_is_stated_as_a_possible_loss(started, publisher):
    ran = started("--kind", "phases", "--count", "400")

    def is_followed():
        publisher.publish([Delivered("track-b", "5" * 32, 1, [PHASE])])
        return len(publisher._subscribers)

    until(is_followed, "a subscriber", every_s=0.02)
    for _ in range(20):
        publisher.publish([Delivered("track-b", "5" * 32, 1, [PHASE])])
    publisher._run = b"another writer's"
    _, err = ended(ran, publisher, *[PHASE] * 50)
    assert "the writer was restarted" in err


@pytest.mark.parametrize(
    ("words", "status", "reported"),
    [
        (["--kind", "trade"], 2, "did you mean trades?"),
        (["--kind", "trades"], 1, "start one with `observer run`"),
    ],
)
def test_a_kind_that_is_none_and_a_system_that_does_not_run_are_one_line(folder, words, status, reported):
    ran = CliRunner().invoke(command_line(), ["tail", *words, "--config", str(folder / "observer.toml")])
    assert reported in str(ran.exception)
    assert getattr(ran.exception, "exit_status", None) == status


@given(events())
def test_every_event_is_one_line_of_any_width(event):
    table = TABLE_NAMES[type(event)]
    whole = event_line(table, event)
    assert whole == plain_text(whole)
    assert table in whole
    assert json.loads(json_line(table, event))["kind"] == table
    for width in (80, 120):
        assert display_width(event_line(table, event, width)) <= max(width, 13 + 21 + 11)
