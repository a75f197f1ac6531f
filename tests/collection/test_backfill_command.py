"""`observer backfill` with the simulated broker, real sockets and a real database: a market's past, whole and once."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from datetime import date

import msgspec
import pytest
from click.testing import CliRunner

from bus.delivery import Delivered
from observer.base.clock import CLOCK_VARIABLE
from observer.base.errors import ConfigError, NoDataError
from observer.cli.app import command_line
from observer.demo.configuration import DAY
from observer.simulator.kis import bars as simulated_bars
from observer.store.reader import StoreReader
from observer.store.writer import StoreWriter
from tests.builders import trades
from tests.store.raw import query
from tests.waiting import until_async
from tests.workers.three_accounts import scene

SYMBOLS = 2
FIRST = "2026-11-13"
EVENING = 21
SPEED = 20.0  # of the clock: the limit of calls is one of market time


@contextlib.asynccontextmanager
async def evening(hour=EVENING, **how):
    async with scene(hour, symbols=SYMBOLS, speed=SPEED, **how) as day:
        yield day


async def started(day, *words):
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "observer", "backfill", *words, "--config", str(day.folder / "observer.toml")),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, CLOCK_VARIABLE: day.clock.to_variable()},
    )


async def typed(day, *words, status=0):
    """What the command prints."""
    process = await started(day, *words)
    out, err = await process.communicate()
    assert process.returncode == status, (out + err).decode()
    return out.decode()


def typed_here(day, *words):
    """As `typed`, of a command that makes no call, in this process: the start of another takes a second."""
    environment = {CLOCK_VARIABLE: day.clock.to_variable()}
    words = ("backfill", *words, "--config", str(day.folder / "observer.toml"))
    return CliRunner().invoke(command_line(), words, env=environment)


async def fetched(day, *words, status=0):
    """The result of `backfill bars --json`."""
    return json.loads(await typed(day, "bars", "--from", FIRST, *words, "--json", status=status))


def symbols_of(market):
    return [instrument.symbol for instrument in market.instruments]


def days_of(market, symbol):
    """The market's past days of the symbol that are asked for."""
    return [bar for bar in market.daily_bars(symbol, adjusted=False) if bar.day >= FIRST.replace("-", "")]


def assert_whole(day):
    """Each day of each symbol is stored once, to the share, with its bars once."""
    url, market = day.settings.store.url, day.simulator.market
    volumes = {
        (symbol, date.fromisoformat(bar.day).isoformat()): float(bar.volume)
        for symbol in symbols_of(market)
        for bar in days_of(market, symbol)
    }
    of_today = {(symbol, DAY.isoformat()): float(market.tape(symbol).volume_after[-1]) for symbol in symbols_of(market)}
    expected = {key: volume for key, volume in {**volumes, **of_today}.items() if volume}
    stored = query(url, "SELECT symbol, session_date, sum(volume) FROM fetched_minute_bars GROUP BY 1, 2")
    assert {(symbol, session): volume for symbol, session, volume in stored} == expected
    fetches = query(url, "SELECT symbol, session_date, outcome FROM bar_fetches WHERE kind = 'minutes'")
    assert sorted(fetches) == sorted((*key, "equal") for key in expected)
    assert query(url, "SELECT 1 FROM fetched_minute_bars GROUP BY symbol, minute_start_ns HAVING count(*) > 1") == []
    daily = query(url, "SELECT symbol, session_date, volume FROM daily_bars")
    assert {(symbol, session): volume for symbol, session, volume in daily} == {**volumes, **of_today}
    assert len(daily) == len({**volumes, **of_today})


async def test_past_days_and_this_one_are_fetched_whole_once_and_proved_by_their_daily_bars():
    async with evening() as day:
        symbols = ",".join(symbols_of(day.simulator.market))
        words = ("bars", "--minutes", "--from", FIRST, "--symbols", symbols, "--dry-run", "--json")
        estimate = json.loads(typed_here(day, *words).stdout)
        assert estimate["daily_spans"] == len(day.simulator.market.instruments)
        result = await fetched(day, "--minutes", "--symbols", symbols)
        assert_whole(day)
        assert result["estimate"] == estimate
        assert result["calls"] <= estimate["calls"]
        assert result["minute_bars"] + result["daily_bars"] <= estimate["bars"]
        assert (result["failed"], result["differing"], result["unreached"]) == ({}, [], 0)
        again = await fetched(day, "--minutes", "--symbols", symbols, "--again")
        assert (again["calls"], again["minute_days"]) == (0, 0)
        assert_values(day)


def assert_values(day):
    """Each minute has its own value: the day's minutes add up to the value of its bar."""
    url = day.settings.store.url
    minutes = query(url, "SELECT symbol, session_date, sum(value) FROM fetched_minute_bars GROUP BY 1, 2")
    daily = query(url, "SELECT symbol, session_date, value FROM daily_bars WHERE volume > 0")
    assert sorted(minutes) == sorted(daily)


@pytest.mark.slow  # kills
async def test_a_run_that_is_killed_or_stopped_by_ctrl_c_goes_on_where_it_was():
    async with evening() as day:
        symbols = ",".join(symbols_of(day.simulator.market))
        url = day.settings.store.url
        words = ("bars", "--minutes", "--from", FIRST, "--symbols", symbols)
        for sent, statuses in ((signal.SIGKILL, (0, -9)), (signal.SIGINT, (0, 130))):
            enough = count(url) + 2
            ended = await started(day, *words)
            await until_async(lambda: count(url) >= enough or ended.returncode is not None, "some are stored")  # noqa: B023 - awaited here
            with contextlib.suppress(ProcessLookupError):
                ended.send_signal(sent)
            _, err = await ended.communicate()
            assert ended.returncode in statuses, err.decode()
            assert b"Traceback" not in err
        await typed(day, *words)
        assert_whole(day)


def count(url):
    return len(query(url, "SELECT 1 FROM bar_fetches WHERE kind = 'minutes'"))


@pytest.mark.slow  # without processes: tests/collection/test_backfill_minute_days.py, test_backfill_fetching.py
async def test_a_row_that_cannot_be_read_goes_to_quarantine_and_costs_nothing_else(monkeypatch):
    row_of = simulated_bars.row

    def with_a_bad_one(blocks, figures):
        made = row_of(blocks, figures)
        is_bad = figures.get("day") == "20261117" and figures["bar"].start_hhmmss == "100000"
        return {**made, "cntg_vol": "many"} if is_bad else made

    async with evening() as day:
        symbol = max(
            symbols_of(day.simulator.market), key=lambda each: day.simulator.market.tape(each).volume_after[-1]
        )
        url, words = day.settings.store.url, ("--minutes", "--symbols", symbol)
        monkeypatch.setattr(simulated_bars, "row", with_a_bad_one)
        result = await fetched(day, *words)
        assert result["outcomes"].keys() == {"equal", "differs"}
        [[reason, content]] = query(url, "SELECT reason, content FROM quarantined_inputs")
        assert "cntg_vol" in reason
        assert json.loads(content)["cntg_vol"] == "many"
        [differing] = result["differing"]
        assert (differing["session_date"], differing["unreadable"]) == ("2026-11-17", 1)
        monkeypatch.setattr(simulated_bars, "row", row_of)
        assert (await fetched(day, *words))["calls"] == 0
        mended = await fetched(day, *words, "--again")
        assert (mended["minute_days"], mended["outcomes"]) == (1, {"equal": 1})
        with StoreReader(url) as reader:
            [last] = reader.minute_fetches("2026-11-17")
            bars = {each.minute_start_ns: each for each in reader.fetched_minute_bars(symbol, "2026-11-17")}
        assert last.outcome == "equal"
        assert sum(each.volume for each in bars.values()) == last.volume == last.daily_volume


@pytest.mark.slow
async def test_daily_bars_alone_and_what_is_stored_already_is_not_stored_again():
    async with evening() as day:
        symbols = ",".join(symbols_of(day.simulator.market))
        assert (await fetched(day, "--daily", "--symbols", symbols))["daily_bars"] > 0
        url = day.settings.store.url
        rows = query(url, "SELECT symbol, session_date FROM daily_bars")
        assert len(set(rows)) == len(rows)
        earlier = json.loads(
            await typed(day, "bars", "--daily", "--from", "2026-11-02", "--symbols", symbols, "--json")
        )
        assert earlier["calls"] == len(day.simulator.market.instruments)
        more = query(url, "SELECT symbol, session_date FROM daily_bars")
        assert set(rows) < set(more)
        assert len(set(more)) == len(more)


@pytest.mark.slow
async def test_no_call_is_made_while_the_day_is_collected():
    async with evening(11) as day:
        waiting = await started(day, "bars", "--daily", "--from", FIRST, "--symbols", "005930")
        assert waiting.stderr is not None
        line = await waiting.stderr.readline()
        assert b"waiting until" in line
        assert query(day.settings.store.url, "SELECT 1 FROM bar_fetches") == []
        day.clock.move_to(day.clock.now_ns())
        waiting.send_signal(2)
        await waiting.communicate()
        assert waiting.returncode == 130
        refused = typed_here(day, "bars", "--daily", "--from", DAY.isoformat(), "--symbols", "005930").exception
        assert isinstance(refused, ConfigError)
        assert "the last one that is over is 2026-11-17" in str(refused)
        found = await fetched(day, "--daily", "--symbols", symbols_of(day.simulator.market)[0], "--any-time")
        assert found["daily_bars"] > 0


@pytest.mark.slow
async def test_official_minute_bars_are_compared_with_the_stored_trades():
    async with evening() as day:
        market, url = day.simulator.market, day.settings.store.url
        symbol = max(symbols_of(market), key=lambda each: len(market.tape(each)))
        assert isinstance(typed_here(day, "check", DAY.isoformat()).exception, NoDataError)
        store(url, [*streamed(market, symbol), *trades(3, symbol="000020", session_date=DAY.isoformat())])
        assert isinstance(typed_here(day, "check", DAY.isoformat()).exception, NoDataError)
        result = await fetched(day, "--minutes", "--symbols", symbol)
        assert result["outcomes"].keys() == {"equal"}
        found = json.loads(await typed(day, "check", DAY.isoformat(), "--json"))
        [check] = found["symbols"]
        assert check["symbol"] == symbol
        with StoreReader(url) as reader:
            [stored] = reader.bar_checks(DAY.isoformat())
        assert json.loads(msgspec.json.encode(msgspec.structs.asdict(stored))) == check
        assert check["equal"] > 0
        assert check["without_bar"] == 0
        assert (
            check["minutes"] == check["equal"] + check["other_volume"] + check["other_prices"] + check["without_trades"]
        )
        text = await typed(day, "check", DAY.isoformat())
        assert f"{DAY.isoformat()}: 1 symbols with official minute bars, 1 of them with stored trades" in text


def streamed(market, symbol):
    """The symbol's trades of the market but for each seventh, as the stream would bring them."""
    found = []
    for number, each in enumerate(market.offered(symbol)):
        if number % 7:
            [trade] = trades(1, symbol=symbol, session_date=DAY.isoformat())
            found.append(
                msgspec.structs.replace(
                    trade,
                    exchange_time_ns=each.exchange_time_ns,
                    price=float(each.price),
                    volume=float(each.volume),
                    cumulative_volume=float(each.cumulative_volume),
                )
            )
    return found


def store(url, events):
    writer = StoreWriter(url)
    writer.open()
    writer.commit([Delivered("track-b", "5" * 32, 1, list(events))])
    writer.close()
