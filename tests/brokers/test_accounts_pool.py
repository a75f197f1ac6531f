"""The file of the accounts: the requirement's keys, no secret in it, and errors that name file and key."""

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from observer.base.errors import ConfigError
from observer.brokers.accounts.pool import MAIN, AccountSettings, PoolSettings, parse_pool


def account(account_id="account_001", **changes):
    return {"account_id": account_id, "keys_file": "config/keys.toml"} | changes


def file_of(*accounts, **changes):
    return msgspec.json.encode({"provider_pool": {"accounts": list(accounts)} | changes})


def refusal(content):
    with pytest.raises(ConfigError) as caught:
        parse_pool(content, "pool.json")
    text = str(caught.value)
    assert all(line.startswith("pool.json") for line in text.splitlines())
    return text


def test_the_requirements_example_is_read_once_its_keys_are_elsewhere():
    numbered = [account(f"account_{n:03}", max_slots=41, priority=n) for n in (1, 2, 3)]
    pool = parse_pool(
        file_of(*numbered, allocation_strategy="round_robin", health_check_interval_seconds=60, failover_enabled=True),
        "pool.json",
    )
    assert [each.account_id for each in pool.accounts] == ["account_001", "account_002", "account_003"]
    assert sum(each.slots for each in pool.accounts) == 123
    assert (pool.allocation_strategy, pool.health_check_interval_seconds, pool.failover_enabled) == (
        "round_robin", 60.0, True,
    )  # fmt: skip


def test_without_a_file_there_is_one_account_with_41_slots():
    assert PoolSettings().accounts == (MAIN,)
    assert MAIN.slots == 41


@pytest.mark.parametrize("name", ["app_key", "app_secret", "approval_key", "token"])
def test_a_key_in_the_file_is_refused_with_the_remedy_and_is_not_reported(name):
    text = refusal(file_of(account(), account("second", **{name: "hush hush"})))
    assert f"provider_pool.accounts[1].{name}: " in text
    assert "keys_file" in text
    assert "mode 600" in text
    assert "hush" not in text


def test_all_keys_in_the_file_are_named_at_once():
    text = refusal(file_of(account(app_key="a", app_secret="b"), account("second", app_key="c")))
    assert len(text.splitlines()) == 3


@pytest.mark.parametrize(
    ("changes", "reported"),
    [
        ({"max_slots": 42}, "max_slots"),
        ({"max_slots": 0}, "max_slots"),
        ({"priority": 0}, "priority"),
        ({"account_id": "a b"}, "account_id"),
        ({"account_id": ""}, "account_id"),
        ({"account_id": "../../etc"}, "account_id"),
        ({"account_id": "line\n"}, "account_id"),
        ({"slots": 5}, "slots"),
        ({"keys_file": None}, "say where the keys are"),
        ({"app_key_variable": "KEY"}, "go together"),
    ],
)
def test_a_wrong_value_of_an_account_is_named(changes, reported):
    text = refusal(file_of(account(), account("second") | changes))
    assert reported in text
    assert "accounts[" in text


@pytest.mark.parametrize(
    ("changes", "reported"),
    [
        ({"allocation_strategy": "random"}, "allocation_strategy"),
        ({"health_check_interval_seconds": 59}, "health_check_interval_seconds"),
        ({"failover_enabled": "yes"}, "failover_enabled"),
        ({"accounts": []}, "accounts"),
        ({"acounts": []}, "acounts"),
    ],
)
def test_a_wrong_value_of_the_pool_is_named(changes, reported):
    assert reported in refusal(file_of(account(), **changes))


def test_an_account_id_names_one_account():
    assert "account_id is not unique: main" in refusal(file_of(account("main"), account("main"), account("other")))


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1, 2]", b'{"pool": {}}'])
def test_a_file_that_is_not_an_account_pool_is_refused(content):
    refusal(content)


def test_accounts_of_one_priority_keep_the_order_of_the_file():
    pool = PoolSettings(
        accounts=tuple(
            AccountSettings(account_id=name, keys_file="k", priority=priority)
            for name, priority in [("c", 2), ("a", 1), ("b", 2), ("d", 1)]
        )
    )
    assert [each.account_id for each in pool.by_priority] == ["a", "d", "c", "b"]


names = st.from_regex(r"\A[A-Za-z0-9_-]{1,40}\Z")


@given(st.lists(names, min_size=1, max_size=10, unique=True))
def test_any_number_of_well_named_accounts_is_read(chosen):
    pool = parse_pool(file_of(*map(account, chosen)), "pool.json")
    assert [each.account_id for each in pool.accounts] == chosen


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["provider_pool", "accounts", "account_id", "app_key"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(anything)
def test_any_json_is_a_pool_or_a_configuration_error(document):
    content = msgspec.json.encode(document)
    with contextlib.suppress(ConfigError):
        assert isinstance(parse_pool(content, "pool.json"), PoolSettings)
