"""Yahoo's sectors through real yfinance code, against a stand-in: pages, pace, retries, the circuit, the cache."""

import asyncio
import time
from random import Random

import pytest

from observer.base.clock import ScaledClock
from observer.base.errors import MaintenanceError, MalformedError, RateExceededError, TransportError
from observer.base.units import NS_PER_S
from observer.reference.sectors.answer_cache import AnswerCache
from observer.reference.sectors.model import VOCABULARIES, Security
from observer.reference.sectors.yahoo import CircuitOpenError, YahooClient, YahooSettings
from observer.reference.sectors.yahoo_sources import UnansweredError, YahooProfiles, YahooScreener
from tests.brokers.hostile import MB, gzip_bomb, measured
from tests.reference.yahoo_stand_in import YahooStandIn

SPEED = 2_000.0  # market seconds a second: pauses of 5, 10 and 20 s pass in some milliseconds


def japanese(*symbols):
    return [Security("JP", "TKSE", symbol, symbol) for symbol in symbols]


def run(scenario, yahoo, tmp_path, *, speed=SPEED, **changes):
    """The scenario's result with (client, cache, clock), against the stand-in."""

    async def body():
        clock = ScaledClock(1_795_000_000 * NS_PER_S, time.monotonic_ns(), speed)
        async with yahoo.serving() as address:
            settings = YahooSettings(address=f"http://{address}", timeout_s=60.0, **changes)
            client = YahooClient(clock, Random(1), settings, tmp_path / "cookies")
            cache = AnswerCache(tmp_path / "answers.jsonl", clock.now_ns())
            return await scenario(client, cache, clock)

    return asyncio.run(body())


async def everything(source, wanted, region="JP"):
    return [finding async for portion in source.findings(region, wanted) for finding in portion]


def found_by(source, wanted, yahoo, tmp_path, region="JP"):
    """What a source finds for these securities."""

    async def scenario(client, cache, clock):
        return await everything(source(client, cache, clock), wanted, region)

    return run(scenario, yahoo, tmp_path)


def test_the_screener_returns_the_requested_sector(tmp_path):
    yahoo = YahooStandIn({("JPX", "Technology"): ["6758.T", "9999.T"], ("JPX", "Consumer Cyclical"): ["7203.T"]})

    found = found_by(YahooScreener, japanese("7203", "6758", "1301"), yahoo, tmp_path)
    assert {(finding.security.symbol, finding.sector, finding.said) for finding in found} == {
        ("6758", "Information Technology", "Technology"),
        ("7203", "Consumer Discretionary", "Consumer Cyclical"),
    }
    assert all(finding.is_sure for finding in found)
    assert sorted(yahoo.screens) == sorted(("JPX", sector, 0) for sector in VOCABULARIES["yahoo"])


def test_a_packed_answer_without_an_end_is_given_up_at_the_bound(tmp_path):
    yahoo = YahooStandIn(sectors={"6758.T": ("Technology", "Electronics")})
    yahoo.bomb = gzip_bomb()

    async def scenario(client, cache, clock):
        with measured() as memory, pytest.raises(TransportError):
            await client.profile("6758.T")
        return memory.peak

    assert run(scenario, yahoo, tmp_path, retries_max=0) < 64 * MB


def test_pages_of_250_are_asked_for_up_to_the_total(tmp_path):
    symbols = [f"{number}.T" for number in range(1000, 1600)]
    yahoo = YahooStandIn({("JPX", "Energy"): symbols})

    assert len(found_by(YahooScreener, japanese(*(s.removesuffix(".T") for s in symbols)), yahoo, tmp_path)) == 600
    assert [offset for _, sector, offset in yahoo.screens if sector == "Energy"] == [0, 250, 500]


def test_sectors_screened_today_are_not_requested_again_even_by_another_run(tmp_path):
    yahoo = YahooStandIn({("JPX", "Energy"): ["1605.T"]})

    first, second = (found_by(YahooScreener, japanese("1605"), yahoo, tmp_path) for _ in range(2))
    assert first == second
    assert len(yahoo.screens) == len(VOCABULARIES["yahoo"])


def test_a_profile_has_sector_and_industry_and_not_found_is_an_answer(tmp_path):
    yahoo = YahooStandIn(sectors={"1605.T": ("Energy", "Oil & Gas E&P"), "1306.T": ("", "")})

    found = found_by(YahooProfiles, japanese("1605", "1306", "0000"), yahoo, tmp_path)
    assert [(finding.sector, finding.industry) for finding in found] == [
        ("Energy", "Oil & Gas E&P"),
        (None, ""),
        (None, ""),
    ]


def test_a_missing_profile_is_requested_once_with_the_same_cookie(tmp_path):
    yahoo = YahooStandIn()

    async def scenario(client, cache, clock):
        for number in range(5):
            assert await client.profile(f"{number}.T") is None

    run(scenario, yahoo, tmp_path)
    assert yahoo.profiles == [f"{number}.T" for number in range(5)]
    assert yahoo.paths["/v1/test/getcrumb"] <= 1  # none where an earlier test of this process has it already


def test_null_is_no_sector_and_no_failure(tmp_path):
    yahoo = YahooStandIn(sectors={"1605.T": (None, None), "1306.T": ("Energy", None)})

    found = found_by(YahooProfiles, japanese("1605", "1306"), yahoo, tmp_path)
    assert [finding.sector for finding in found] == [None, "Energy"]


async def all_before_it_ends(source, wanted, error):
    """The source's findings before it raises that error, and the error's text."""
    found = []

    async def take_all():
        async for portion in source.findings("JP", wanted):
            found.extend((finding.security.symbol, finding.sector) for finding in portion)

    with pytest.raises(error) as raised:
        await take_all()
    return found, str(raised.value)


@pytest.mark.parametrize(("refusal", "why"), [(400, "HTTP 400"), (500, "HTTP 500")])
def test_a_symbol_that_yahoo_refuses_does_not_stop_the_others(tmp_path, refusal, why):
    yahoo = YahooStandIn(sectors={"1605.T": ("Energy", ""), "6758.T": ("Technology", "")})
    yahoo.refused = {"1306.T": refusal}

    async def scenario(client, cache, clock):
        wanted = japanese("1605", "1306", "6758")
        return await all_before_it_ends(YahooProfiles(client, cache, clock), wanted, UnansweredError)

    found, text = run(scenario, yahoo, tmp_path)
    assert found == [("1605", "Energy"), ("6758", "Information Technology")]
    assert "1 of its questions" in text
    assert f"profile 1306.T: {why}" in text


def test_an_unreadable_answer_does_not_stop_the_other_symbols(tmp_path):
    yahoo = YahooStandIn(sectors={"1306.T": (17, ""), "6758.T": ("Technology", "")})

    async def scenario(client, cache, clock):
        return await all_before_it_ends(YahooProfiles(client, cache, clock), japanese("1306", "6758"), UnansweredError)

    found, text = run(scenario, yahoo, tmp_path)
    assert found == [("6758", "Information Technology")]
    assert "profile 1306.T: Expected `str | null`, got `int`" in text


def test_a_page_of_the_screener_that_fails_ends_no_other(tmp_path):
    yahoo = YahooStandIn({("JPX", "Technology"): ["6758.T"], ("JPX", "Utilities"): ["9501.T"]})
    first = next(iter(VOCABULARIES["yahoo"]))
    yahoo.refused = {("JPX", first): 400}

    async def scenario(client, cache, clock):
        wanted = japanese("6758", "9501")
        return await all_before_it_ends(YahooScreener(client, cache, clock), wanted, UnansweredError)

    found, text = run(scenario, yahoo, tmp_path)
    assert sorted(found) == [("6758", "Information Technology"), ("9501", "Utilities")]
    assert f"screener JPX {first}: HTTP 400" in text


def test_an_open_circuit_stops_requests_for_further_symbols(tmp_path):
    yahoo = YahooStandIn()
    yahoo.always = 500

    async def scenario(client, cache, clock):
        return await all_before_it_ends(YahooProfiles(client, cache, clock), japanese("1", "2", "3"), CircuitOpenError)

    found, text = run(scenario, yahoo, tmp_path)
    assert found == []
    assert "profile 2.T" in text


def test_a_missing_profile_is_cached(tmp_path):
    yahoo = YahooStandIn()

    found_by(YahooProfiles, japanese("0000"), yahoo, tmp_path)
    asked = len(yahoo.profiles)
    assert [finding.sector for finding in found_by(YahooProfiles, japanese("0000"), yahoo, tmp_path)] == [None]
    assert len(yahoo.profiles) == asked


def test_a_market_that_yahoo_does_not_cover_is_answered_without_a_request(tmp_path):
    yahoo = YahooStandIn()

    found = found_by(YahooProfiles, [Security("VN", "HASE", "IDC", "IDICO")], yahoo, tmp_path, "VN")
    assert [finding.sector for finding in found] == [None]
    assert not yahoo.paths


def test_an_unknown_sector_word_is_kept_without_a_sector(tmp_path):
    yahoo = YahooStandIn(sectors={"1605.T": ("Space Tourism", "Rockets")})

    [finding] = found_by(YahooProfiles, japanese("1605"), yahoo, tmp_path)
    assert (finding.sector, finding.said) == (None, "Space Tourism")


@pytest.mark.parametrize(
    ("refusal", "error"),
    [(500, MaintenanceError), (429, RateExceededError), ("cut", TransportError), ("<html>", MalformedError)],
)
def test_a_refusal_is_one_of_our_errors(tmp_path, refusal, error):
    yahoo = YahooStandIn(sectors={"1605.T": ("Energy", "")})
    yahoo.always = refusal

    async def scenario(client, cache, clock):
        with pytest.raises(error):
            await client.profile("1605.T")

    run(scenario, yahoo, tmp_path, retries_max=0)


def test_a_server_failure_is_retried_and_counted(tmp_path):
    yahoo = YahooStandIn(sectors={"1605.T": ("Energy", "")})
    yahoo.refusals.extend([500] * 4)  # yfinance itself asks twice, with another cookie

    async def scenario(client, cache, clock):
        profile = await client.profile("1605.T")
        return profile.sector, client.retries

    assert run(scenario, yahoo, tmp_path) == ("Energy", 2)


def test_pauses_are_5_10_and_20_seconds_and_up_to_a_quarter_more(tmp_path):
    yahoo = YahooStandIn()
    yahoo.always = 500

    async def scenario(client, cache, clock):
        began_ns = clock.now_ns()
        with pytest.raises(MaintenanceError):
            await client.profile("1605.T")
        return (clock.now_ns() - began_ns) / NS_PER_S

    seconds = run(scenario, yahoo, tmp_path, rate_per_s=1_000_000.0, speed=100.0)
    assert seconds >= 35.0


def test_five_failures_in_a_row_open_the_circuit(tmp_path):
    yahoo = YahooStandIn()
    yahoo.always = 500

    async def scenario(client, cache, clock):
        with pytest.raises(MaintenanceError):
            await client.profile("1.T")  # four attempts
        with pytest.raises(CircuitOpenError):
            await client.profile("2.T")
        requests = client.requests
        with pytest.raises(CircuitOpenError):
            await client.profile("3.T")
        return requests == client.requests

    assert run(scenario, yahoo, tmp_path)


def test_missing_profiles_never_open_the_circuit(tmp_path):
    yahoo = YahooStandIn(sectors={"1605.T": ("Energy", "")})

    async def scenario(client, cache, clock):
        for number in range(8):
            assert await client.profile(f"{number}.T") is None
        return (await client.profile("1605.T")).sector

    assert run(scenario, yahoo, tmp_path) == "Energy"


def test_every_request_that_yfinance_sends_waits_for_its_turn(tmp_path):
    yahoo = YahooStandIn(sectors={f"{number}.T": ("Energy", "") for number in range(3)})

    async def scenario(client, cache, clock):
        await everything(YahooProfiles(client, cache, clock), japanese("0", "1", "2"))
        return client.requests

    requests = run(scenario, yahoo, tmp_path, speed=1.0, rate_per_s=20.0)
    between = [later - earlier for earlier, later in zip(yahoo.arrivals, yahoo.arrivals[1:], strict=False)]
    assert requests == len(yahoo.arrivals)
    assert sum(between) >= 0.05 * (len(between) - 1)
