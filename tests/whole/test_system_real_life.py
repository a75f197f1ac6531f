"""Days and symbols as real life has them: the exam day's late opening with a halt, a limit-up, letters in codes and a
split on it; and a holiday.
"""

import json
from datetime import date

import pytest

from tests.chaos.fault_day import judged
from tests.whole.running import observer
from tests.whole.staged import QUICK_SILENCE, staged_day, stopped

pytestmark = pytest.mark.system

EXAM_DAY, CHRISTMAS = date(2026, 11, 19), date(2026, 12, 25)
SEED, SYMBOLS = 2538, 120  # on the exam day this market has all of:
HALTED, LOCKED, SPLIT = "400440", "400830", "405890"  # 11:25:34 to 11:55:34; from 13:40:42; one share into ten
INTO = 10
CHANGES = {
    **QUICK_SILENCE,
    "simulator": {**QUICK_SILENCE["simulator"], "opens_at": "10:00", "drops": []},
}


@pytest.fixture(scope="module")
def exam_day():
    """The day's judge report, and the finished day."""
    with staged_day(
        speed=1000, symbols=SYMBOLS, accounts=4, seed=SEED, session=EXAM_DAY, begins=(8, 30), changes=CHANGES
    ) as day:
        day.begin()
        day.until_second(10 * 3600 + 40 * 60)
        assert ordered(day, "slots", "pin", HALTED)["detail"].startswith(f"{HALTED} is pinned")
        day.until_second(11 * 3600 + 44 * 60)
        day.kill("track-b")
        day.until_second(16 * 3600 + 6 * 60)
        day.until_gaps_are_closed()
        reported = judged(day, day.folder)
        assert stopped(day) == 0
        yield reported, day


def ordered(day, *words):
    """The output of a command that must succeed."""
    reported = observer(*words, "--json", "--config", day.configuration, cwd=day.folder)
    assert reported.returncode == 0, reported.stdout + reported.stderr
    return dict(json.loads(reported.stdout))


def hours(day, query):
    """The query's rows; times of day in KST as HH:MM where the query says hhmm(...)."""
    return day.system.rows(
        query.replace("hhmm(", "strftime('%H:%M', 9 * 3600 + 1e-9 * ").replace(";", ", 'unixepoch')")
    )


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.timeout(600)
class TestExamDay:
    def test_the_market_opens_at_ten_and_track_b_half_an_hour_later(self, exam_day):
        _, day = exam_day
        phases = dict(hours(day, "SELECT current, hhmm(changed_ns; FROM phases"))
        assert {name: phases[name] for name in ("TRACK_A_ONLY", "FULL_OPERATION", "TRACK_A_CLOSING")} == {
            "TRACK_A_ONLY": "10:00",
            "FULL_OPERATION": "10:30",
            "TRACK_A_CLOSING": "16:00",
        }
        [(first,)] = hours(day, "SELECT min(hhmm(receive_time_ns;) FROM snapshots")
        assert first >= "10:00"

    def test_the_stored_trades_are_the_sent_trades(self, exam_day):
        reported, _ = exam_day
        assert reported["balances"], reported

    def test_a_halted_symbol_loses_its_slot(self, exam_day):
        _, day = exam_day
        released = hours(
            day, f"SELECT hhmm(released_ns; FROM slot_releases WHERE symbol = '{HALTED}' AND reason = 'halted'"
        )
        assert released
        assert "11:25" <= released[0][0] <= "11:40"
        [(reported,)] = day.system.rows(f"SELECT count(*) FROM market_states WHERE symbol = '{HALTED}' AND halted")
        assert reported == 1, "by the flag of the trade stream"

    def test_a_pinned_symbol_has_its_slot_again_when_trading_resumes_also_after_a_restart(self, exam_day):
        _, day = exam_day
        given = hours(
            day, f"SELECT hhmm(assigned_ns; FROM slot_assignments WHERE symbol = '{HALTED}' AND reason = 'pinned'"
        )
        assert given[-1][0] >= "11:55"  # a sweep sees new trades

    def test_a_replay_confirms_the_decisions_of_the_day(self, exam_day):
        _, day = exam_day
        assert ordered(day, "decisions", "verify", EXAM_DAY.isoformat())["is_same"]

    def test_a_symbol_at_its_upper_limit_loses_its_slot_and_gets_none(self, exam_day):
        _, day = exam_day
        [(released,)] = hours(
            day, f"SELECT hhmm(released_ns; FROM slot_releases WHERE symbol = '{LOCKED}' AND reason = 'upper_limit'"
        )
        assert "13:38" <= released <= "14:10"
        later = hours(day, f"SELECT hhmm(assigned_ns; FROM slot_assignments WHERE symbol = '{LOCKED}'")
        assert all(assigned < released for (assigned,) in later)

    def test_codes_with_letters_are_streamed_like_others(self, exam_day):
        _, day = exam_day
        symbols = [symbol for (symbol,) in day.system.rows("SELECT DISTINCT symbol FROM trades")]
        assert sum(not symbol.isdigit() for symbol in symbols) >= 3

    def test_a_split_fires_no_volatility_spike_and_surges_compare_with_the_new_shares(self, exam_day):
        _, day = exam_day
        assert day.system.rows(f"SELECT symbol FROM universe_members WHERE symbol = '{SPLIT}'")
        assert day.system.rows(f"SELECT count(*) > 10 FROM snapshots WHERE symbol = '{SPLIT}'") == [(1,)]
        kinds = "SELECT kind FROM triggers WHERE symbol = '{SPLIT}' AND kind = 'volatility_spike'"
        assert day.system.rows(kinds.replace("{SPLIT}", SPLIT)) == []
        surges = day.system.rows(
            "SELECT basis, reference / average_volume_20d FROM triggers JOIN universe_members USING (symbol) "
            f"WHERE symbol = '{SPLIT}' AND kind = 'volume_surge'"
        )
        assert surges, "a surge: without one this says nothing"
        of_the_day = [round(ratio) for basis, ratio in surges if basis == "day"]
        assert all(ratio == INTO for ratio in of_the_day), "in shares of after the split"


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_on_a_holiday_nothing_is_swept_and_nothing_streamed():
    with staged_day(speed=1200, session=CHRISTMAS, begins=(8, 55)) as day:
        day.begin()
        day.until_second(10 * 3600)
        assert day.alive()
        assert day.system.rows("SELECT current FROM phases WHERE current <> 'IDLE'") == []
        assert day.system.rows("SELECT sweep FROM sweeps") == []
        assert day.system.rows("SELECT state FROM connections") == []
        assert day.counters()["connections"] == 0
        assert stopped(day) == 0
