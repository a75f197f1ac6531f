"""What refusals, stalls and lower limits of a host cost an account: rows of docs/limits.md, in virtual time."""

import asyncio
from random import Random

import pytest

from tests.brokers.refusing_hosts import (
    RATE,
    Host,
    accepted_over,
    down,
    full_after_s,
    lasting_hosts,
    limited,
    most_in_a_second,
    watched,
)

HANDFUL = 8  # refused calls a minute: trials of a higher limit


def seen_at(host, folder, until_s):
    """What the host saw; no second had more calls than are configured, and none more accepted than the host allows."""
    seen = asyncio.run(watched(host, folder, until_s))
    assert most_in_a_second(seen.sent) <= RATE
    assert accepted_over(seen) == 0
    return seen


@pytest.mark.parametrize("for_s", [2, 30])
def test_after_a_host_that_refused_everything_all_calls_go_at_full_speed_within_five_seconds(tmp_path, for_s):
    seen = seen_at(Host("down", for_s, refuses=down(0, for_s)), tmp_path, for_s + 10)
    assert full_after_s(seen) <= 5


def test_a_host_that_refuses_one_in_two_hundred_slows_nothing_down(tmp_path):
    rng = Random(7)
    host = Host("random", refuses=lambda _second, _rng: rng.random() < 1 / 200)
    seen = seen_at(host, tmp_path, 60)
    answered = sum(0 <= moment < 60 for moment in seen.accepted)
    assert len(seen.refused) > 0
    assert answered >= 0.95 * 60 * RATE


def test_a_host_that_stalls_for_four_seconds_sees_no_burst_and_refuses_nothing(tmp_path):
    seen = seen_at(Host("stalls", 4.0, stalls_until=4.0), tmp_path, 10)
    assert seen.refused == []
    assert full_after_s(seen) <= 5


@pytest.mark.parametrize("answer_s", [0.01, 0.15])
@pytest.mark.parametrize("most", [3, 10])
def test_a_lower_limit_is_found_within_ten_seconds(tmp_path, most, answer_s):
    host = Host("lower", limit=limited(RATE, most), answer_s=answer_s)
    seen = seen_at(host, tmp_path, 20)
    assert full_after_s(seen) <= 10
    known = [moment for moment in seen.refused if moment >= 10]
    assert len(known) <= 8  # one call more is tried now and then
    assert len([moment for moment in seen.refused if moment < 10]) <= 20


@pytest.mark.parametrize("host", lasting_hosts(), ids=lambda host: host.name)
def test_however_a_host_counts_and_answers_few_calls_are_refused_from_the_tenth_second_on(tmp_path, host):
    seen = seen_at(host, tmp_path, 60)  # ten seconds before noon it begins
    refused = sum(moment >= 0 for moment in seen.refused)
    accepted = sum(moment >= 0 for moment in seen.accepted)
    assert refused <= max(0.025 * accepted, HANDFUL)
    assert accepted >= 0.9 * 60 * host.limit(0) / (1 + max(host.answer_s, host.answer_max_s))


@pytest.mark.parametrize("most", [3, pytest.param(10, marks=pytest.mark.slow)])
def test_a_limit_that_rises_again_is_found_within_a_minute(tmp_path, most):
    host = Host("rises", 60.0, limit=lambda second: most if 0 <= second < 60 else RATE)
    seen = seen_at(host, tmp_path, 122)
    assert full_after_s(seen) <= 60


def test_the_judge_of_accepted_calls_sees_one_too_many(tmp_path):
    seen = asyncio.run(watched(Host("well"), tmp_path, 3))
    seen.accepted.extend([2.0] * (RATE + 1))
    assert accepted_over(seen) > 0
