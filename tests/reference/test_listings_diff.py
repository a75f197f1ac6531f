"""Differences between known listings and a master file, and which of them need approval."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from observer.base.errors import DataFileError
from observer.brokers.broker import FileStamp
from observer.reference.listings.diff import (
    Change,
    FileDecision,
    ReferenceSettings,
    decide_download,
    difference,
    outcome,
    revalued,
)
from observer.reference.listings.model import Listing

SETTINGS = ReferenceSettings()
BASE = Listing(
    exchange="KOSPI",
    symbol="005930",
    name="Samsung",
    isin="KR7005930003",
    group="ST",
    base_price=70_000.0,
    market_cap=4e14,
    listed_shares=6e9,
    listed_on="1975-06-11",
    suspended=False,
    administrative=False,
    preferred=False,
    spac=False,
)


def stamp(size_bytes=1_000, last_modified="Wed, 18 Nov 2026 08:10:00 GMT", etag='"a"'):
    return FileStamp(size_bytes, last_modified, etag)


def listing(symbol="005930", **changes):
    return msgspec.structs.replace(BASE, symbol=symbol, **changes)


def known(*listings, active=True):
    return {item.symbol: (item, active) for item in listings}


def kinds(changes):
    return [(change.listing.symbol, change.kind) for change in changes]


# --- the difference ---


def test_the_same_listings_are_no_change():
    assert difference(known(listing("A"), listing("B")), [listing("B"), listing("A")]) == ()


def test_new_removed_and_changed_listings_come_in_the_order_of_their_symbols():
    found = difference(
        known(listing("B"), listing("C"), listing("D")), [listing("C", name="X"), listing("A"), listing("D")]
    )
    assert kinds(found) == [("A", "new"), ("B", "removed"), ("C", "changed")]


def test_a_change_names_its_fields_and_carries_the_state_after_it():
    after = listing("A", name="New", suspended=True)
    assert difference(known(listing("A")), [after]) == (Change("changed", after, ("name", "suspended"), listing("A")),)


def test_values_of_the_day_are_no_change_and_are_reported_apart():
    before = known(listing("A"), listing("B"), listing("C"))
    stated = [listing("A", base_price=1.0), listing("B"), listing("C", base_price=1.0, name="New"), listing("D")]
    assert kinds(difference(before, stated)) == [("C", "changed"), ("D", "new")]
    assert revalued(before, stated) == (listing("A", base_price=1.0),)


def test_an_approved_change_of_any_size_is_applied():
    found = changes("removed", 500)
    answer = outcome(found, SETTINGS, old_size_bytes=1_000, new_size_bytes=1, approved=True)
    assert (answer.decision, answer.reason) == ("updated", "500 changes, approved")


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"exchanges": ["NASDAQ"]}, "exchanges: NASDAQ not among"),
        ({"exchanges": ["NYSE", "NYSE"]}, "exchanges: one is named twice"),
        ({"weekly_refresh_time": "3:00"}, r"weekly_refresh_time"),
        ({"weekly_refresh_day": "Sunday"}, r"weekly_refresh_day"),
    ],
)
def test_wrong_exchanges_days_and_times_are_refused(wrong, why):
    with pytest.raises(msgspec.ValidationError, match=why):
        msgspec.convert(wrong, ReferenceSettings)


def test_a_removed_listing_is_removed_once():
    assert difference(known(listing("A"), active=False), []) == ()


def test_a_listing_that_returns_is_relisted_whether_or_not_it_changed():
    assert difference(known(listing("A"), active=False), [listing("A")]) == (Change("relisted", listing("A")),)
    after = listing("A", name="New")
    assert difference(known(listing("A"), active=False), [after]) == (
        Change("relisted", after, ("name",), listing("A")),
    )


def test_a_file_that_states_a_symbol_twice_is_refused():
    with pytest.raises(DataFileError, match="more than once"):
        difference({}, [listing("A"), listing("A", name="X")])


def test_a_file_of_two_exchanges_is_refused():
    with pytest.raises(DataFileError, match="KOSDAQ, KOSPI"):
        difference({}, [listing("A"), listing("B", exchange="KOSDAQ")])


LISTINGS = st.dictionaries(st.sampled_from("ABCDEF"), st.sampled_from(["one", "two"]))


@given(LISTINGS, st.sets(st.sampled_from("ABCDEF")), LISTINGS)
def test_applying_the_changes_yields_exactly_the_content_of_the_file(before, inactive, after):
    old = {symbol: (listing(symbol, name=name), symbol not in inactive) for symbol, name in before.items()}
    stated = [listing(symbol, name=name) for symbol, name in after.items()]
    table = dict(old)
    for change in difference(old, stated):
        table[change.listing.symbol] = (change.listing, change.kind != "removed")
    assert {symbol: item for symbol, (item, active) in table.items() if active} == {
        item.symbol: item for item in stated
    }
    assert difference(table, stated) == ()


# --- the outcome ---


def changes(kind, count):
    return [Change(kind, listing(f"{number:06}")) for number in range(count)]


def judge(found, *, old=1_000, new=1_000):
    return outcome(found, SETTINGS, old_size_bytes=old, new_size_bytes=new)


def test_a_file_without_changes_is_unchanged_and_a_few_changes_are_applied():
    assert judge([]).decision == "unchanged"
    assert judge(changes("changed", 2_000)).decision == "updated"


def test_a_file_that_grew_much_is_applied_with_a_warning():
    assert judge(changes("new", 10), new=1_200).severity == "info"
    grown = judge(changes("new", 10), new=1_201)
    assert (grown.decision, grown.severity) == ("updated", "warning")
    assert grown.reason == "10 changes; the file grew by 20.1 %"
    assert judge([], new=1_300).severity == "warning"


def test_a_file_that_shrank_is_a_warning_only_where_listings_are_gone():
    shrunk = judge(changes("removed", 1), new=999)
    assert (shrunk.decision, shrunk.severity) == ("updated", "warning")
    assert "1 listing removed, and the file is 0.10 % smaller" in shrunk.reason
    assert judge(changes("changed", 1), new=999).severity == "info"
    assert judge(changes("removed", 1), new=1_001).severity == "info"
    assert judge(changes("removed", 1), old=10_000, new=9_991).severity == "info", "less than a thousandth"


def test_up_to_fifty_removals_are_applied_and_more_wait_for_approval():
    assert judge(changes("removed", 50)).decision == "updated"
    pending = judge(changes("removed", 51))
    assert (pending.decision, pending.severity) == ("pending", "critical")
    assert "51" in pending.reason


def test_up_to_a_hundred_new_listings_are_applied_and_more_wait_for_approval():
    assert judge(changes("new", 100)).decision == "updated"
    assert judge(changes("new", 101)).decision == "pending"


def test_any_number_of_initial_listings_is_applied():
    assert judge(changes("initial", 2_700), old=None).decision == "updated"


def test_the_listings_of_a_first_file_are_initial_and_later_ones_new_also_after_all_were_removed():
    assert kinds(difference({}, [listing("A")])) == [("A", "initial")]
    former = {"B": (listing("B"), False)}
    assert kinds(difference(former, [listing("A")])) == [("A", "new")]


def test_a_file_that_is_over_ten_percent_smaller_waits_for_approval():
    assert judge(changes("removed", 1), new=900).decision == "updated"
    assert judge(changes("removed", 1), new=899).decision == "pending"


# --- the download ---


def test_a_file_without_a_local_copy_is_downloaded():
    assert decide_download(None, stamp(), SETTINGS).action == "download"


def test_equal_stamps_are_skipped_until_the_weekly_refresh():
    assert decide_download(stamp(), stamp(), SETTINGS, age_s=6.9 * 86_400).action == "skip"
    assert decide_download(stamp(), stamp(), SETTINGS, age_s=7 * 86_400).action == "download"


@pytest.mark.parametrize(
    "remote", [stamp(size_bytes=1_001), stamp(last_modified="later"), stamp(etag='"b"'), stamp(size_bytes=None)]
)
def test_any_difference_means_download(remote):
    assert decide_download(stamp(), remote, SETTINGS).action == "download"


def test_a_file_without_stamps_is_downloaded():
    silent = stamp(size_bytes=None, last_modified="", etag="")
    assert decide_download(silent, silent, SETTINGS).action == "download"


def test_an_empty_file_is_refused_even_the_first_time():
    for local in (None, stamp()):
        assert decide_download(local, stamp(size_bytes=0), SETTINGS) == FileDecision(
            "refuse", "the server offers an empty file", "critical"
        )


@pytest.mark.parametrize(
    ("size_bytes", "severity"),
    [(1_200, "info"), (1_201, "warning"), (999, "warning"), (900, "warning"), (899, "critical")],
)
def test_the_change_in_size_decides_the_severity(size_bytes, severity):
    decision = decide_download(stamp(), stamp(size_bytes=size_bytes), SETTINGS)
    assert (decision.action, decision.severity) == ("download", severity)


def test_one_more_record_causes_a_download_even_below_a_thousandth_of_the_file():
    decision = decide_download(stamp(size_bytes=740_000), stamp(size_bytes=740_289), SETTINGS)
    assert decision.action == "download"
