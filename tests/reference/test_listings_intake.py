"""The events that a parsed master file produces."""

import msgspec

from bus.events import InputQuarantined, ListingChanged, ListingValued, MasterFileChecked
from observer.reference.listings.diff import ListingOutcome, ReferenceSettings
from observer.reference.listings.intake import MasterFile, events_of, judge, untouched
from observer.reference.listings.model import Listing, UnreadableLine

SETTINGS = ReferenceSettings()
READ_NS = 1_795_000_000_000_000_000


def listing(number, **changes):
    base = Listing(
        exchange="KOSPI",
        symbol=f"{number:06d}",
        name=f"company {number}",
        isin="KR7005930003",
        group="ST",
        base_price=70_000.0,
        market_cap=1e12,
        listed_shares=1e6,
        listed_on="1975-06-11",
        suspended=False,
        administrative=False,
        preferred=False,
        spac=False,
    )
    return msgspec.structs.replace(base, **changes)


def file(listings, bad_lines=None, size_bytes=1_000):
    return MasterFile("kis", "KOSPI", listings, bad_lines or [], size_bytes, "ab" * 32, READ_NS)


def take_in(read, *arguments, **named):
    judged = judge(read, *arguments, **named)
    return judged.outcome, events_of(read, judged)


def known(*listings):
    return {each.symbol: (each, True) for each in listings}


def test_the_first_file_makes_every_record_a_listing():
    answer, events = take_in(file([listing(n) for n in range(300)]), {}, SETTINGS, old_size_bytes=None)
    checked, *changes = events
    assert answer.decision == "updated"
    assert isinstance(checked, MasterFileChecked)
    assert (checked.outcome, checked.records, checked.initial, checked.new) == ("updated", 300, 300, 0)
    assert all(isinstance(change, ListingChanged) and change.change == "initial" for change in changes)
    assert len(changes) == 300


def test_a_change_carries_the_state_afterwards_and_names_its_fields():
    old, new = listing(1), listing(1, suspended=True, base_price=71_000.0)
    _, events = take_in(file([new]), known(old), SETTINGS, old_size_bytes=1_000)
    [change] = [event for event in events if isinstance(event, ListingChanged)]
    assert (change.change, change.suspended, change.base_price) == ("changed", True, 71_000.0)
    assert (change.changed_fields, change.previous) == ("suspended", '{"suspended":false}')


def test_a_pending_file_changes_nothing_and_is_critical():
    gone = [listing(n) for n in range(60)]
    stays = [listing(n) for n in range(60, 100)]
    answer, events = take_in(file(stays), known(*gone, *stays), SETTINGS, old_size_bytes=1_000)
    assert answer.decision == "pending"
    assert not [event for event in events if isinstance(event, ListingChanged)]
    assert answer.severity == "critical"


def test_a_listing_with_an_unreadable_line_stays_and_one_without_a_line_is_removed():
    old = [listing(n) for n in range(1_000)]
    bad = UnreadableLine(1, "too short", "000000   KR7005930003회사".encode("cp949"))
    _, events = take_in(file(old[2:], [bad]), known(*old), SETTINGS, old_size_bytes=1_000)
    removed = [event.symbol for event in events if isinstance(event, ListingChanged) and event.change == "removed"]
    assert removed == ["000001"]


def test_a_name_that_holds_a_symbol_keeps_no_listing():
    old = [listing(n) for n in range(1_000)]
    bad = UnreadableLine(1, "too short", b"US\t512\tNAS\tRGLD\tROYAL 000000 INC")
    _, events = take_in(file(old[1:], [bad]), known(*old), SETTINGS, old_size_bytes=1_000)
    assert [event.symbol for event in events if isinstance(event, ListingChanged)] == ["000000"]


def test_a_few_unreadable_records_go_to_quarantine_and_the_others_count():
    bad = UnreadableLine(7, "a letter where a number belongs", b"...")
    answer, events = take_in(file([listing(n) for n in range(1_000)], [bad]), {}, SETTINGS, old_size_bytes=None)
    assert answer.decision == "updated"
    [kept] = [event for event in events if isinstance(event, InputQuarantined)]
    assert (kept.source, kept.content) == ("master_file KOSPI line 7", b"...")


def test_a_file_with_too_many_unreadable_lines_fails():
    bad = [UnreadableLine(n, "broken", b"...") for n in range(6)]
    answer, events = take_in(file([listing(n) for n in range(994)], bad), {}, SETTINGS, old_size_bytes=None)
    assert answer.decision == "failed"
    assert not [event for event in events if isinstance(event, ListingChanged)]


def test_a_file_without_a_record_fails_even_when_approved():
    answer, _ = take_in(file([]), known(listing(1)), SETTINGS, old_size_bytes=1_000, approved=True)
    assert answer.decision == "failed"


def test_values_of_the_day_are_published_beside_unchanged_listings():
    answer, events = take_in(file([listing(1, base_price=1.0)]), known(listing(1)), SETTINGS, old_size_bytes=1_000)
    assert answer.decision == "unchanged"
    [checked, valued] = events
    assert isinstance(checked, MasterFileChecked)
    assert checked.revalued == 1
    assert isinstance(valued, ListingValued)
    assert (valued.exchange, valued.symbol, valued.base_price) == ("KOSPI", "000001", 1.0)


def test_a_skipped_file_leaves_the_fact_of_its_check():
    skipped = untouched("kis", "KOSPI", READ_NS, ListingOutcome("unchanged", "as it was", "info"))
    assert [type(event) for event in skipped] == [MasterFileChecked]
