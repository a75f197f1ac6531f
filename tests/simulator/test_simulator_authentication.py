"""Keys, tokens and the calls of a second, as KIS grants them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observer.simulator.kis.authentication import Authentication, Refusal

S = 1_000_000_000
START = 1_800_000_000 * S


def authentication(calls_per_s=None):
    return Authentication(seed=1, app_keys={"key": "secret"}, calls_per_s=calls_per_s)


def refused(code):
    return pytest.raises(Refusal, match=code)


def test_within_a_minute_a_second_token_is_refused_with_403():
    keys = authentication()
    keys.issue_token("key", "secret", START)
    with refused("EGW00133") as caught:
        keys.issue_token("key", "secret", START + 59 * S)
    assert caught.value.http_status == 403


def test_a_refused_request_does_not_start_another_minute():
    keys = authentication()
    first = keys.issue_token("key", "secret", START)
    with refused("EGW00133"):
        keys.issue_token("key", "secret", START + 59 * S)
    assert keys.issue_token("key", "secret", START + 60 * S) == first


def test_within_six_hours_the_same_token_comes_back():
    keys = authentication()
    first = keys.issue_token("key", "secret", START)
    assert keys.issue_token("key", "secret", START + 6 * 3600 * S - 1) == first
    assert keys.issue_token("key", "secret", START + 6 * 3600 * S + 60 * S).text != first.text


def test_a_token_lives_a_day():
    keys = authentication()
    token = keys.issue_token("key", "secret", START)
    keys.admit_call("key", "secret", f"Bearer {token.text}", START + 86_400 * S - 1)
    with refused("EGW00123"):
        keys.admit_call("key", "secret", f"Bearer {token.text}", START + 86_400 * S)


def test_a_revoked_token_is_invalid_and_the_next_one_is_new():
    keys = authentication()
    token = keys.issue_token("key", "secret", START)
    keys.revoke_token("key", "secret", token.text)
    with refused("EGW00121"):
        keys.admit_call("key", "secret", f"Bearer {token.text}", START)
    assert keys.issue_token("key", "secret", START + 60 * S).text != token.text


@pytest.mark.parametrize("bearer", ["", "Bearer ", "Bearer unknown", "Basic token"])
def test_without_a_token_in_force_no_call_is_let_in(bearer):
    with refused("EGW00121"):
        authentication().admit_call("key", "secret", bearer, START)


@given(st.lists(st.integers(min_value=0, max_value=S), max_size=60), st.integers(min_value=1, max_value=5))
def test_no_sliding_second_has_more_calls_than_allowed(waits_ns, limit):
    keys = authentication(calls_per_s=limit)
    bearer = f"Bearer {keys.issue_token('key', 'secret', START).text}"
    now = START
    admitted: list[int] = []
    for wait_ns in waits_ns:
        now += wait_ns
        try:
            keys.admit_call("key", "secret", bearer, now)
        except Refusal:
            assert sum(now - moment < S for moment in admitted) == limit
        else:
            admitted.append(now)
    assert all(sum(0 <= end - moment < S for moment in admitted) <= limit for end in admitted)


def test_unknown_keys_and_wrong_secrets_are_refused():
    with refused("EGW00103"):
        authentication().issue_token("other", "secret", START)
    with refused("EGW00105"):
        authentication().issue_approval("key", "wrong", START)


def test_an_approval_key_names_its_app_key_for_a_day():
    keys = authentication()
    approval = keys.issue_approval("key", "secret", START)
    assert keys.app_key_of_approval(approval.text, START) == "key"
    assert keys.app_key_of_approval(approval.text, START + 86_400 * S) is None
    assert keys.app_key_of_approval("unknown", START) is None
