"""`observer kis`: each call of the table is run by the command, with a running system's token, at the simulator."""

import asyncio
import json
from datetime import timedelta
from typing import NamedTuple

import pytest
from click.testing import CliRunner

from observer.base.clock import CLOCK_VARIABLE
from observer.base.errors import ConfigError
from observer.brokers.kis.calls import CALLS
from observer.cli.app import command_line
from observer.demo.configuration import DAY
from observer.simulator.kis.listings import LISTINGS
from tests.workers.three_accounts import Scene, scene

YESTERDAY = DAY - timedelta(1)
ABROAD = LISTINGS[0]


def typed(*words):
    return CliRunner().invoke(command_line(), ["kis", *map(str, words)])


class Running(NamedTuple):
    """A running system whose accounts have tokens."""

    system: Scene
    runner: asyncio.Runner

    def typed(self, *words):
        """The command in a thread of its own, beside the simulator."""
        return self.runner.run(asyncio.to_thread(typed, *words, "--config", self.system.folder / "observer.toml"))


@pytest.fixture(scope="module")
def running():
    """The environment names the system's clock."""
    with asyncio.Runner() as runner, pytest.MonkeyPatch.context() as patches:
        system = scene(14, symbols=60, speed=60.0)
        found = runner.run(system.__aenter__())
        patches.setenv(CLOCK_VARIABLE, found.clock.to_variable())
        try:
            yield Running(found, runner)
        finally:
            runner.run(system.__aexit__(None, None, None))


def arguments_of(market, call):
    """Something that the simulator has, for every parameter of the call."""
    etf = next(each.symbol for each in market.instruments if each.group == "EF")
    stock = max((each.symbol for each in market.instruments), key=lambda symbol: len(market.tape(symbol)))
    is_past = call == "past_minute_bars"
    found = {
        "symbol": etf if call.startswith(("etf_", "nav_")) else ABROAD.symbol if "overseas" in call else stock,
        "symbols": f"{stock},{etf}",
        "exchange": ABROAD.exchange,
        "first": (DAY - timedelta(20)).isoformat(),
        "last": YESTERDAY.isoformat(),
        "begin": f"{YESTERDAY if is_past else DAY}T09:00:00",
        "end": f"{YESTERDAY if is_past else DAY}T09:30:00",
    }
    return [f"{name}={found[name]}" for name in CALLS[call].parameters]


@pytest.mark.parametrize("call", CALLS)
def test_every_call_of_the_table_is_run_by_the_command(running, call):
    result = running.typed("call", call, *arguments_of(running.system.simulator.market, call), "--json")
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)
    assert rows
    assert all(row.keys() == set(CALLS[call].record.result.__struct_fields__) for row in rows)


def test_several_rows_are_a_table_and_one_row_a_line_for_each_field(running):
    market = running.system.simulator.market
    several = running.typed("call", "daily_bars", *arguments_of(market, "daily_bars")).stdout.splitlines()
    assert several[0].split()[:3] == ["symbol", "start_ns", "open"]
    assert YESTERDAY.isoformat() in several[-1]
    one = running.typed("call", "quote_detail", *arguments_of(market, "quote_detail")).stdout.splitlines()
    assert one[0].split()[0] == "symbol"
    assert len(one) == len(CALLS["quote_detail"].record.result.__struct_fields__)


def test_a_symbol_that_kis_does_not_know_is_status_1(running):
    result = running.typed("call", "quote_detail", "symbol=999999")
    assert result.exit_code == 1
    assert result.stderr == "observer: quote_detail: KIS knows nothing of symbol=999999\n"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["horoscope"], "no call 'horoscope': `observer kis calls` lists them"),
        (["quote_detail"], "quote_detail: without symbol; usage: observer kis call quote_detail symbol=TEXT"),
        (["quote_detail", "sybol=1"], "quote_detail: 'sybol=1' is no parameter; usage"),
        (["sessions", "first=1", "last=2"], "sessions: 'first=1' is wrong .*; usage.*first=YYYY-MM-DD last=YYYY-MM-DD"),
        (["overseas_instrument"], "without exchange, symbol; usage.*exchange=NASD symbol=TEXT"),
    ],
)
def test_an_invalid_call_is_refused_in_one_line_with_the_remedy(words, text):
    result = typed("call", *words)
    assert isinstance(result.exception, ConfigError)
    with pytest.raises(ConfigError, match=text):
        raise result.exception


def test_the_list_has_every_call_with_its_parameters_and_fields():
    listed = json.loads(typed("calls", "--json").stdout)
    assert [each["name"] for each in listed] == list(CALLS)
    [bars] = [each for each in listed if each["name"] == "daily_bars"]
    assert bars["parameters"] == ["symbol=TEXT", "first=YYYY-MM-DD", "last=YYYY-MM-DD"]
    assert (bars["returns"], bars["many"], bars["fields"][:3]) == ("Bar", True, ["symbol", "start_ns", "open"])
    assert "sessions first=YYYY-MM-DD last=YYYY-MM-DD" in typed("calls").stdout
