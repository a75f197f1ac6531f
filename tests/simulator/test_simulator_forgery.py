"""False trades of the simulator: well-formed records that differ from a true one in what their kind says."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from observer.simulator.kis.forgery import FORGERY_KINDS, forged
from observer.simulator.kis.frames import TradeTimeline, data_frame
from observer.simulator.kis.simulator import market_of
from observer.simulator.settings import SimulatorSettings
from tests.simulator.test_simulator_stream_faults import at, begin, register, running, texts_so_far
from tests.waiting import until_async

SETTINGS = SimulatorSettings(seed=7, session_date="2026-12-31", symbols=60, app_keys={})
MARKET = market_of(SETTINGS)
TIMELINE = TradeTimeline(MARKET, MARKET.instruments[0], 47)
TRADES = len(MARKET.tape(MARKET.instruments[0].symbol))


def forgery(kind, records):
    """The first false record of this kind that any seed makes."""
    made = (forged(data_frame("H0STCNT0", records), Random(seed), 5) for seed in range(1_000))
    return next(each for each in made if each is not None and each.kind == kind)


def fields_of(frame):
    return frame.split("|", 3)[3].split("^")


@given(st.sampled_from(FORGERY_KINDS), st.integers(0, TRADES - 3), st.integers(1, 3))
def test_a_false_record_differs_from_the_last_true_one_in_what_its_kind_says(kind, first, count):
    records = [TIMELINE.record(first + number) for number in range(count)]
    made, true = forgery(kind, records), records[-1].split("^")
    false = fields_of(made.frame)
    total, volume, price = int(true[13]), int(true[12]), int(true[2])
    following = {13: str(total + volume)}
    assert {place: text for place, text in enumerate(false) if text != true[place]} == {
        "volume": {13: str(1000 * total)},
        "block": {12: str(999 * total), 13: str(1000 * total)},
        "tomorrow": {**following, 33: "20270101"},
        "month_ahead": {**following, 33: "20270130"},
        "midnight": {**following, 1: "235959"},
        "price": {**following, 2: str(10 * price)},
        "negative": {**following, 12: str(-volume)},
    }[kind]
    assert (made.symbol, made.sent_ns, made.frame[:15]) == (true[0], 5, "0|H0STCNT0|001|")


def test_nothing_but_trades_is_forged():
    notice = TIMELINE.record(0).split("^")
    notice[12] = "0"  # of a halt
    assert forged(data_frame("H0STCNT0", ["^".join(notice)]), Random(1), 0) is None
    assert forged(data_frame("H0STASP0", [TIMELINE.record(0)]), Random(1), 0) is None


async def test_true_trades_are_sent_beside_the_false_ones_and_the_ledger_knows_only_the_true():
    async with running(at(9, 30)) as client, client.stream() as socket:
        await register(client, socket, client.liveliest)
        begin(client, "poison", for_s=3_600)
        await client.move_to(at(9, 40))
        await until_async(lambda: len(client.simulator.forgeries()) > 0)
        sent = await texts_so_far(client, socket)
        false = [each.frame for each in client.simulator.forgeries()]
        assert client.simulator.counters().faults["poison"] == len(false)
        assert [text for text in sent if text in false] == false
        [registration] = client.simulator.registrations()
        [span] = registration.spans
        records = sum(int(text.split("|")[2]) for text in sent if text not in false)
        assert span.last_trade - span.first_trade + 1 == records
