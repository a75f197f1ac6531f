"""Which lines are watched for their market, with which account, and the alerts of stops and waits."""

import msgspec
import pytest

from observer.base.clock import ManualClock
from observer.base.units import NS_PER_S
from observer.collection.market_watch import left_free, placed, watched
from observer.collection.stream_alerts import HELD_BACK, MARKET_STOPPED, report_held_back, report_market_stops
from observer.monitoring.alerts.process import Alerts
from observer.monitoring.metrics.counters import COUNTERS
from observer.selection.market_stops import MarketStop
from observer.selection.settings import SelectionSettings
from tests.selection.builders import candidate, member, selector_of

EXCHANGES = {
    "005930": "KOSPI",
    "005930.NXT": "KOSPI",
    "000660": "KOSPI",
    "247540": "KOSDAQ",
    "247540.NXT": "KOSDAQ",
}
MEMBERS = [msgspec.structs.replace(member(line), exchange=exchange) for line, exchange in EXCHANGES.items()]


def selector():
    return selector_of(MEMBERS, {"one": 2, "two": 2})


def test_the_first_line_of_each_market_is_watched_those_of_the_main_venue_first():
    lines = ["247540", "005930", "247540.NXT", "005930.NXT"]
    assert watched(selector(), ("trades",), {"one": 41, "two": 41}) == {"one": lines, "two": []}


def test_no_line_is_watched_with_an_account_whose_stream_is_closed():
    made = selector()
    made.close_accounts(frozenset({"one"}), 1)
    found = watched(made, ("trades",), {"one": 41, "two": 41})
    assert (len(found["one"]), len(found["two"])) == (0, 4)


def test_the_largest_lines_are_found_once_for_a_universe():
    stops = selector().market.stops
    assert stops.largest_lines is stops.largest_lines


def test_lines_are_watched_only_with_subscriptions_that_no_slot_uses():
    assert placed(["A", "B", "C"], {"one": 0, "two": 2, "three": -1}) == {"one": [], "two": ["A", "B"], "three": []}
    assert placed(["A", "B"], {"one": 1, "two": 5}) == {"one": ["A"], "two": ["B"]}


def of_both_markets(count):
    exchanges = ("KOSPI", "KOSDAQ")
    return [member(f"{number:06d}", rank=number, exchange=exchanges[number % 2]) for number in range(count)]


def test_the_largest_symbols_leave_a_subscription_for_each_market_of_a_full_account_and_triggers_take_it():
    members = of_both_markets(60)
    free = left_free(members, ("trades",), [41], [41])
    made = selector_of(members, {"main": 41}, SelectionSettings(), left_free=free)
    made.open([candidate("000059")], 0)
    assert (len(made.wanted), watched(made, ("trades",), {"main": 41})) == (39, {"main": ["000001", "000000"]})
    made.open([candidate(f"{number:06d}") for number in range(18, 60)], 1)
    assert (len(made.wanted), watched(made, ("trades",), {"main": 41})) == (41, {"main": []})


@pytest.mark.parametrize(
    ("records", "slots", "subscriptions", "found"),
    [
        (("trades",), [41], [41], 2),
        (("trades",), [40], [41], 1),
        (("trades",), [39], [41], 0),
        (("trades",), [10, 10], [10, 10], 2),
        (("trades",), [10], [10], 1),
        (("trades",), [9], [9], 0),
        (("trades", "order_book"), [20, 20], [40, 40], 1),
        (("trades", "order_book"), [20], [41], 1),
        (("trades", "market_state"), [20], [40], 0),
    ],
)
def test_fillers_leave_as_many_slots_free_as_watches_need_and_at_most_a_tenth(records, slots, subscriptions, found):
    assert left_free(of_both_markets(4), records, slots, subscriptions) == found


def test_a_stop_is_one_alert_until_it_is_over():
    alerts = Alerts(ManualClock(0), "track-b", lambda *_: None)
    stop = MarketStop("KRX KOSPI", "breaker", 1)
    for _ in range(2):
        report_market_stops(alerts, [stop])
        assert alerts.identities == [f"{MARKET_STOPPED}KRX KOSPI"]
    report_market_stops(alerts, [])
    assert alerts.identities == []


def test_subscriptions_that_wait_a_quarter_of_an_hour_are_an_alert_until_all_are_as_wanted():
    alerts = Alerts(ManualClock(0), "track-b", lambda *_: None)
    report_held_back(alerts, {"main": 0, "other": None}, 900 * NS_PER_S)
    assert alerts.identities == []
    assert held_back_s() == {("main",): 900.0, ("other",): 0.0}
    report_held_back(alerts, {"main": 0, "other": None}, 901 * NS_PER_S)
    assert alerts.identities == [f"{HELD_BACK}main"]
    report_held_back(alerts, {"main": None, "other": None}, 902 * NS_PER_S)
    assert alerts.identities == []
    assert held_back_s() == {("main",): 0.0, ("other",): 0.0}


def held_back_s():
    metric = "observer_subscription_changes_held_back_seconds"
    found = {each.labels: each.value for each in COUNTERS.samples() if each.metric == metric}
    return {account: found[account] for account in (("main",), ("other",))}  # the counters are the process's
