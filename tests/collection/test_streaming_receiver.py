"""What the stream's records lack is filled when they arrive, and what a sweep lacks is an alert."""

import msgspec
import pytest

from bus.events import ExpectedPrice, Trade
from observer.base.clock import ManualClock
from observer.base.local_time import local_ns
from observer.collection.sweeps import UNANSWERED, report_unanswered
from observer.monitoring.alerts.process import Alerts
from tests.collection.day_scene import DAY, SESSION, SYMBOLS, idle_process, market


@pytest.fixture(scope="module")
def scene():
    with market() as made:
        yield made


def expected_price(venue, hour, minute, **changes):
    at_ns = local_ns(DAY, hour, minute)
    made = ExpectedPrice("kis", SYMBOLS[0], SESSION, at_ns, at_ns, 10_000.0, 5.0, None, None, venue)
    return msgspec.structs.replace(made, **changes)


async def test_an_expected_price_has_the_session_of_its_venue_at_its_time(scene):
    with idle_process(scene) as running:
        facts = [
            *(expected_price("KRX", 8, 30), expected_price("KRX", 15, 25), expected_price("KRX", 17, 0)),
            *(expected_price("NXT", 8, 30), expected_price("KRX", 8, 30, session="after")),
            expected_price("NOWHERE", 8, 30),
        ]
        running.day.receiver.on_facts(facts)
        sessions = [each.session for each in running.of(ExpectedPrice)]
        assert sessions == ["regular", "regular", "after", "pre", "after", None]


async def test_a_trade_of_a_record_without_a_session_has_that_of_its_time(scene):
    with idle_process(scene) as running:
        made = msgspec.structs.replace(scene.trade(SYMBOLS[0], 10.0, 10_000.0), session=None)
        running.day.trades.watch(SYMBOLS[0])
        running.day.receiver.on_trades([made])
        [stored] = running.of(Trade)
        assert stored == msgspec.structs.replace(made, session="regular")


def test_a_sweep_without_an_answer_of_a_venue_is_an_alert_until_the_venue_answers():
    alerts = Alerts(ManualClock(0), "track-a", lambda *_: None)
    report_unanswered(alerts, 3, {"KRX": 30, "NXT": 10}, {"KRX"})
    assert alerts.identities == [f"{UNANSWERED}NXT"]
    report_unanswered(alerts, 4, {"KRX": 30}, {"KRX"})
    assert alerts.identities == [f"{UNANSWERED}NXT"], "the sweep did not ask it"
    report_unanswered(alerts, 5, {"KRX": 30, "NXT": 10}, {"KRX", "NXT"})
    assert alerts.identities == []
