"""The ledger of the simulated broker: kept for a judge from outside, and compared with the quality reports."""

import asyncio

import msgspec
import pytest
from aiohttp import web

from observer.base.errors import TransportError
from observer.demo.ledger import LEDGER, Subscribed, is_overstated, keep_ledger
from observer.gaps.intervals import Interval
from observer.simulator.market.market import OfferedTrade
from tests.brokers.stand_ins import serving
from tests.builders import trade


async def test_the_ledger_is_fetched_from_this_machine_whatever_proxy_is_set(tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)

    async def answered(_request):
        return web.json_response({"registrations": []})

    async with serving(web.get("/simulator/registrations", answered)) as address:
        await keep_ledger(f"http://{address}", tmp_path)
    assert (tmp_path / LEDGER).read_text() == '{"registrations": []}'


@pytest.mark.parametrize(
    ("path", "cause"), [("/simulator/registrations", "HTTPStatusError .*503"), ("/elsewhere", "HTTPStatusError .*404")]
)
def test_a_ledger_that_is_not_given_is_an_error_with_its_cause(tmp_path, path, cause):
    async def refused(_request):
        return web.Response(status=503)

    async def scenario():
        async with serving(web.get(path, refused)) as address:
            await keep_ledger(f"http://{address}", tmp_path)

    with pytest.raises(TransportError, match=f"the simulator does not give its ledger: {cause}"):
        asyncio.run(scenario())
    assert not (tmp_path / LEDGER).exists()


def test_a_simulator_that_is_gone_is_named_as_the_cause(tmp_path):
    async def scenario():
        async with serving() as address:
            pass
        await keep_ledger(f"http://{address}", tmp_path)

    with pytest.raises(TransportError, match=r"the simulator does not give its ledger: ConnectError \w"):
        asyncio.run(scenario())


# --- reports better than the truth ---------------------------------------------------------------------------

SLOT = Interval(100, 200)
TIMES_NS = (50, 120, 150, 200, 250)  # of the market's trades of one share each
SUBSCRIBED = Subscribed("005930", "KRX", acknowledged_ns=110, ended_ns=210, spans=[msgspec.Raw(b"{}")])


def overstated(word, stored, slot=SLOT, *ledger):
    """Whether this word is better than the truth; `stored` are the numbers of the stored trades, with their gaps."""
    day = ("005930", "2026-11-18", "090000")
    offered = [
        OfferedTrade(*day, at_ns, 100, 1, number, number, 0, "buy", "KRX", "regular")
        for number, at_ns in enumerate(TIMES_NS, start=1)
    ]
    rows = [trade(volume=1.0, cumulative_volume=float(number), gap_id=gap) for number, gap in stored.items()]
    return is_overstated(word, rows, slots=[slot], ledger=ledger or [SUBSCRIBED], offered=offered)


def test_a_slot_is_complete_if_every_trade_from_its_subscription_to_its_end_is_stored_as_streamed():
    assert not overstated("complete", {2: None, 3: None, 4: None})


@pytest.mark.parametrize("lacking", [2, 3, 4])
def test_complete_and_recovered_overstate_a_slot_that_lacks_any_of_its_trades(lacking):
    stored = dict.fromkeys({2, 3, 4} - {lacking})
    assert overstated("complete", stored)
    assert overstated("recovered", stored)
    assert overstated("complete", {**stored, lacking: "gap"})
    assert not overstated("recovered", {**stored, lacking: "gap"})
    assert not overstated("degraded", stored)


def test_a_slot_whose_subscription_was_there_before_begins_with_itself():
    assert overstated("complete", {3: None, 4: None})
    assert not overstated("complete", {3: None, 4: None}, Interval(130, 200))


def test_a_subscription_that_brought_nothing_or_was_over_before_the_slot_says_nothing_of_it():
    silent = msgspec.structs.replace(SUBSCRIBED, spans=[])
    over = msgspec.structs.replace(SUBSCRIBED, acknowledged_ns=10, ended_ns=90)
    assert not overstated("complete", {}, SLOT, silent, over)
