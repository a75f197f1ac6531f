"""The day of real shape: a function of its seed, made in windows, served like every other day."""

import subprocess
import sys
from collections import Counter
from functools import cache
from itertools import pairwise

import pytest

from observer.base.units import NS_PER_S
from observer.simulator.kis.quotations import ROWS_PER_CALL, time_and_sales
from observer.simulator.kis.simulator import market_of
from observer.simulator.market import lazy_tape
from observer.simulator.market.instruments import price_limits, tick_size
from observer.simulator.market.market import hhmmss
from observer.simulator.market.real_day import BURST_TRADES, RealDayMarket
from observer.simulator.market.tape import AUCTION
from tests.simulator.simulator_client import at, control, records_until, request_text, running, settings

TRADES = 60_000
REAL: dict[str, object] = {"symbols": 60, "trades_times": 1.0, "real_day_trades": TRADES}
LATEST = at(23, 59)


@cache
def market():
    made = market_of(settings(**REAL))
    assert isinstance(made, RealDayMarket)
    return made


def traded():
    """Symbols with trades, the busiest first."""
    symbols = [each.symbol for each in market().instruments if each.trades]
    return sorted(symbols, key=lambda symbol: -len(market().tape(symbol)))


@pytest.mark.slow  # that of a made-up market is in tests/simulator/test_simulator_venues.py
def test_the_same_seed_offers_the_same_trades_in_another_process_and_another_seed_others():
    program = (
        "from observer.simulator.kis.simulator import market_of\n"
        "from tests.simulator.simulator_client import settings\n"
        f"print(market_of(settings(**{REAL!r})).offered_digest())"
    )
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == market().offered_digest()
    assert market_of(settings(**REAL, seed=8)).offered_digest() != market().offered_digest()


def test_the_day_has_the_shape_of_a_real_one():
    counts = [len(market().tape(symbol)) for symbol in traded()]
    assert abs(sum(counts) - TRADES) < TRADES / 100
    assert sum(counts[: len(counts) // 10]) > TRADES / 3
    listed = market().instruments
    assert abs(sum(each.group == "EF" for each in listed) / len(listed) - 1_100 / 3_700) < 0.03
    seconds = Counter(moment_ns // NS_PER_S for moment_ns in market().tape(traded()[0]).time_ns)
    (busiest, most), *_ = seconds.most_common(1)
    assert most == BURST_TRADES
    assert busiest * NS_PER_S in (at(9), at(15, 19, 59))


def test_every_trade_adds_its_volume_and_is_dealt_at_a_price_of_the_grid():
    for symbol in traded()[::6]:
        tape, base = market().tape(symbol), market().instrument(symbol)
        assert base is not None
        lowest, highest = price_limits(base.base_price)
        assert all(before <= after for before, after in pairwise(tape.time_ns))
        assert [tape.volume[0], *(b - a for a, b in pairwise(tape.volume_after))] == list(tape.volume)
        assert all(lowest < price < highest and price % tick_size(price) == 0 for price in tape.price)
        assert min(tape.volume) >= 1
        assert tape.value[-1] == sum(price * volume for price, volume in zip(tape.price, tape.volume, strict=True))
        assert (tape.high[-1], tape.low[-1]) == (max(tape.price), min(tape.price))
        assert (tape.time_ns[0], tape.time_ns[-1]) == (market().open_ns, market().close_ns)
        assert [index for index, side in enumerate(tape.side) if side == AUCTION] == [0, len(tape) - 1]


def test_what_was_read_before_changes_no_trade():
    symbol = traded()[0]
    whole = list(market().tape(symbol).volume_after)
    other = market_of(settings(**REAL))
    picked = range(len(whole) - 1, 0, -977)
    assert [other.tape(symbol).volume_after[index] for index in picked] == [whole[index] for index in picked]
    assert whole[100:1_300:7] == other.tape(symbol).volume_after[100:1_300:7]
    assert whole[1_300:100:-7] == other.tape(symbol).volume_after[1_300:100:-7]
    assert whole[-1] == other.tape(symbol).volume_after[-1]


def test_few_windows_are_kept(monkeypatch):
    monkeypatch.setattr(lazy_tape, "_WINDOWS_KEPT", 20)
    made = market_of(settings(**REAL))
    assert isinstance(made, RealDayMarket)
    for symbol in traded():
        made.state_at(symbol, at(12))
        list(made.tape(symbol).price)
    assert 0 < len(made.windows) <= 20


def test_minute_bars_are_those_of_the_trades():
    symbol = traded()[3]
    tape = market().tape(symbol)
    minutes = Counter[str]()
    for moment_ns, volume in zip(tape.time_ns, tape.volume, strict=True):
        minutes[hhmmss((moment_ns - market().midnight_ns) // NS_PER_S // 60 * 60)] += volume
    bars = market().minute_bars(symbol, LATEST, 24 * 60 - 1, 24 * 60)
    assert {bar.start_hhmmss: bar.volume for bar in bars} == minutes
    assert bars[0].value_after == tape.value[-1]


def test_time_and_sales_pages_back_by_thirty_from_any_second():
    symbol = traded()[2]
    tape = market().tape(symbol)
    second = at(15, 30)
    while second >= at(9):
        text = hhmmss((second - market().midnight_ns) // NS_PER_S)
        body = time_and_sales(
            market(), LATEST, {"FID_COND_MRKT_DIV_CODE": "J", "FID_INPUT_ISCD": symbol, "FID_INPUT_HOUR_1": text}
        )
        end = sum(moment_ns < second + NS_PER_S for moment_ns in tape.time_ns)
        rows = body["output2"]
        assert isinstance(rows, list)
        assert [int(row["acml_vol"]) for row in rows] == tape.volume_after[max(0, end - ROWS_PER_CALL) : end][::-1]
        second -= 997 * NS_PER_S


async def test_a_simulator_serves_and_streams_it():
    async with running(at(12), **REAL) as client:
        day, symbol = client.simulator.market, client.liveliest
        quote = (await client.call("inquire-price", "FHKST01010100")).json()["output"]
        assert int(quote["acml_vol"]) == day.state_at(symbol, at(12)).cumulative_volume > 0
        async with client.stream() as socket:
            await socket.send(request_text(await client.approval(), symbol))
            await control(socket)
            await client.move_to(at(12, 2))
            records = await records_until(socket, lambda got: len(got) >= 10)
        first = day.tape(symbol).count_until(at(12))
        expected = day.tape(symbol).volume_after[first : first + len(records)]
        assert [int(record[13]) for record in records] == expected


@pytest.mark.parametrize("change", [{"venues": ("KRX", "NXT")}, {"trades_times": 2.0}, {"data": "samples"}])
def test_options_that_such_a_day_lacks_are_refused(change):
    with pytest.raises(ValueError, match="real_day_trades"):
        settings(**(REAL | change))
