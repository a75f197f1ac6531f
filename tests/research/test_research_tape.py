"""A day with a tape: the completeness of every line, what bars lack by name, and the stored share of the market."""

import threading

import pytest
from polars.testing import assert_frame_equal

import observer
from bus.events import TAPE, BarsFetched, TapeJudged, TapePage, TapeSpan
from observer.archive.sealing import seal_days
from tests.research.stored import DAY, MARKET, NEXT_DAY, STREAM, append, at, make_store, traded, url_of

LINE = "247540"  # without a slot


def fetched(time, volume, total):
    return traded(LINE, time, 500.0, volume, total, gap_id=TAPE, receive_time_ns=at("18:00:00"))


def report(
    symbol,
    quality,
    held,
    day,
    unreachable=(),
    unknown=(),
    judged="18:30:00",
):
    return TapeJudged("kis", symbol, DAY, at(judged), quality, day, held, 5, unreachable, unknown, "KRX")


SECOND = TapeSpan(10.0, 40.0, at("09:01:03"), at("09:01:03"))
SPAN = TapeSpan(55.0, 80.0, at("09:10:00"), at("09:12:30"))


def of_tape():
    return [
        fetched("09:00:58", 10, 10),
        fetched("09:01:03", 10, 50),
        fetched("09:10:00", 5, 55),
        fetched("09:12:30", 20, 100),
        fetched("09:14:00", 10, 110),
        report(LINE, "snapshots", 0, 90, judged="18:00:00"),
        report(LINE, "spans", 55, 110, (SECOND,), (SPAN,)),
        report("005930", "complete", 100, 100),
        report("000660", "snapshots", 0, 12),
        report("403800", "complete", 0, 0),
        BarsFetched("kis", "000660", DAY, DAY, "minutes", "equal", 3, 0, 12.0, 12.0, 1, at("20:00:00")),
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = make_store(tmp_path_factory.mktemp("tape"))
    append(url_of(made), STREAM, *of_tape())
    return made


@pytest.fixture(scope="module")
def store(folder):
    with observer.open_store(folder) as opened:
        yield opened


def test_each_line_of_the_day_has_its_completeness_with_a_slot_or_without_one(store):
    found = store.quality(DAY).collect()
    assert dict(found.select("symbol", "completeness").filter(found["venue"] == "KRX").rows()) == {
        "000660": "minute_bars",
        "005930": "complete",
        "035420": None,  # it had a slot, and nothing has judged it yet
        "247540": "spans",
        "403800": "complete",
    }
    [unslotted] = found.filter(found["symbol"] == LINE).rows(named=True)
    assert (unslotted["slots_quality"], unslotted["day_volume"], unslotted["held_volume"]) == (None, 110, 55)
    assert (unslotted["unreachable_seconds"], unslotted["unknown_volume"]) == (1, 25)
    [slotted] = found.filter(found["symbol"] == "005930").rows(named=True)
    assert (slotted["slots_quality"], slotted["day_quality"]) == ("recovered", "part")


def test_a_day_without_a_tape_has_the_reports_on_slots_alone(store):
    assert store.quality(NEXT_DAY).collect().is_empty()
    with pytest.raises(observer.NotCollected, match="the tape has no report on 2026-11-19"):
        store.missing(None, NEXT_DAY)


def test_what_was_known_before_the_tape_reported_is_as_without_a_tape(store):
    found = store.quality(DAY, known_at="2026-11-18 17:00").collect()
    assert found["symbol"].to_list() == ["000660", "005930"]
    assert found["completeness"].to_list() == [None, None]


def test_trades_of_a_line_without_a_slot_carry_its_completeness(store):
    found = store.trades(LINE, DAY).collect()
    assert found["source"].unique().to_list() == ["tape"]
    assert found["quality"].unique().to_list() == ["spans"]
    assert store.trades("005930", DAY).collect()["quality"].unique().to_list() == ["complete"]
    assert store.trades("035420", DAY).collect()["quality"].unique().to_list() == [None]


def test_trades_of_the_tape_are_read_before_it_has_reported(tmp_path):
    folder = make_store(tmp_path)
    page = TapePage("kis", LINE, DAY, at("09:10:00"), at("09:09:00"), 1, 1, 10.0, 0.0, 10.0, 1, 2, (), "KRX")
    append(url_of(folder), STREAM, fetched("09:00:58", 10, 10), page)
    with observer.open_store(folder) as opened:
        assert opened.trades(LINE, DAY).collect()["quality"].to_list() == [None]


def test_bars_name_the_seconds_and_spans_that_they_lack_and_the_day_s_volume_proves_the_last(store):
    found = store.bars(LINE, DAY).select("time", "volume", "complete", "unreachable_seconds", "unknown_volume")
    rows = [(each[0].strftime("%H:%M"), *each[1:]) for each in found.collect().rows()]
    assert rows == [
        ("09:00", 10, True, 0, 0),  # though the next trade that is stored is of the second that has missing ones
        ("09:01", 10, False, 1, 0),
        ("09:10", 5, False, 0, 25),
        ("09:12", 20, False, 0, 25),
        ("09:14", 10, True, 0, 0),
    ]


def test_bars_without_a_report_lack_nothing_by_name(store):
    found = store.bars("035420", DAY).collect()
    assert found["unreachable_seconds"].to_list() == found["unknown_volume"].to_list() == [None]


def test_what_is_missing_is_named(store):
    found = store.missing(LINE, DAY).select("kind", "since", "until", "volume").collect()
    rows = [(kind, f"{since:%H:%M:%S}", f"{until:%H:%M:%S}", volume) for kind, since, until, volume in found.rows()]
    assert rows == [("unreachable", "09:01:03", "09:01:04", 30), ("unknown", "09:10:00", "09:12:31", 25)]
    assert store.missing("005930", DAY).collect().is_empty()
    assert store.sql("SELECT sum(volume) FROM missing").collect().item() == 55


def test_the_summary_has_the_stored_share_of_the_market(store):
    summary = store.summary(DAY).collect()
    [shares] = summary.filter(summary["relation"] == "trades").select("volume_share", "trades_share").rows()
    held, missing = 100 + 3 + 1 + 2 + 55, 55 + 9
    assert shares[0] == pytest.approx(held / (held + missing))
    trades = 6 + 2 + 1 + 1 + 5
    assert shares[1] == pytest.approx(trades / (trades + 55 / (55 / 5) + 9 / (3 / 2)))
    assert summary.filter(summary["relation"] != "trades")["volume_share"].is_null().all()


def test_the_summary_of_a_day_without_a_tape_compares_with_what_sweeps_saw(tmp_path):
    with observer.open_store(make_store(tmp_path)) as opened:
        summary = opened.summary(DAY).collect()
    assert summary.filter(summary["relation"] == "trades")["volume_share"].to_list() == [1.0]


def test_a_sealed_day_with_a_tape_answers_as_the_database_did(store, tmp_path):
    folder = make_store(tmp_path)
    append(url_of(folder), STREAM, *of_tape())
    list(seal_days(folder / "data" / "lake", url_of(folder), MARKET, [DAY], lambda: 1, threading.Event()))
    with observer.open_store(folder) as sealed:
        assert_frame_equal(sealed.quality(DAY), store.quality(DAY))
        assert_frame_equal(sealed.bars(None, DAY), store.bars(None, DAY))
        assert_frame_equal(sealed.missing(None, DAY), store.missing(None, DAY))


def test_a_day_with_a_tape_is_exported_with_what_it_lacks(store, tmp_path):
    written = store.export(DAY, tmp_path / "out", format="csv")
    [missing] = [path for path in written if path.name == "missing.csv"]
    assert len(missing.read_text().splitlines()) == 3


def test_the_source_of_a_trade_says_how_it_came(tmp_path):
    ways = {"09:00:01": None, "09:00:02": "a gap", "09:00:03": TAPE}
    trades = [traded(LINE, time, 500.0, 1, total, gap_id=way) for total, (time, way) in enumerate(ways.items(), 1)]
    append(url_of(made := make_store(tmp_path)), STREAM, *trades, report(LINE, "complete", 3, 3))
    with observer.open_store(made) as opened:
        found = opened.trades(LINE, DAY).collect()
    assert found["source"].to_list() == ["stream", "recovered", "tape"]
