"""Reading keys: one error names all missing keys; a file that other users can read is refused."""

import pytest

from observer.base.errors import MissingKeysError
from observer.brokers.accounts.keys import AccountKeys, read_keys
from observer.brokers.accounts.pool import AccountSettings

MAIN = AccountSettings(account_id="main", app_key_variable="MAIN_KEY", app_secret_variable="MAIN_SECRET")


def with_file(tmp_path, text, mode=0o600):
    path = tmp_path / "keys.toml"
    path.write_text(text)
    path.chmod(mode)
    return AccountSettings(
        account_id="main", app_key_variable="MAIN_KEY", app_secret_variable="MAIN_SECRET", keys_file=str(path)
    )


GOOD = '[main]\napp_key = "key of file"\napp_secret = "secret of file"\n'


def test_keys_come_from_the_named_variables():
    keys = read_keys([MAIN], {"MAIN_KEY": "k", "MAIN_SECRET": "s"})
    assert keys == [AccountKeys("main", "k", "s")]


def test_keys_come_from_a_private_file(tmp_path):
    assert read_keys([with_file(tmp_path, GOOD)], {}) == [AccountKeys("main", "key of file", "secret of file")]


def test_the_environment_goes_before_the_file(tmp_path):
    (keys,) = read_keys([with_file(tmp_path, GOOD)], {"MAIN_KEY": "k", "MAIN_SECRET": "s"})
    assert keys.app_key == "k"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620, 0o644])
def test_a_file_that_others_can_reach_is_refused_with_the_command_to_run(tmp_path, mode):
    settings = with_file(tmp_path, GOOD, mode)
    with pytest.raises(MissingKeysError, match=f"chmod 600 {settings.keys_file}"):
        read_keys([settings], {})


def test_exactly_the_missing_variable_is_named():
    with pytest.raises(MissingKeysError) as caught:
        read_keys([MAIN], {"MAIN_KEY": "k"})
    assert "MAIN_SECRET" in str(caught.value)
    assert "MAIN_KEY" not in str(caught.value)


def test_everything_missing_of_all_accounts_is_named_at_once(tmp_path):
    absent = AccountSettings(account_id="second", keys_file=str(tmp_path / "absent.toml"))
    with pytest.raises(MissingKeysError) as caught:
        read_keys([MAIN, absent], {})
    assert str(caught.value).splitlines() == [
        "account main: no keys: set MAIN_KEY and MAIN_SECRET (no keys_file is configured)",
        f"account second: no keys: create {tmp_path / 'absent.toml'} (mode 600)",
    ]


def test_two_accounts_with_one_app_key_are_refused_without_printing_the_key():
    other = AccountSettings(account_id="other", app_key_variable="OTHER_KEY", app_secret_variable="MAIN_SECRET")
    with pytest.raises(MissingKeysError, match="account other: has the app key of account main") as caught:
        read_keys([MAIN, other], {"MAIN_KEY": "hush", "OTHER_KEY": "hush", "MAIN_SECRET": "s"})
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("text", ["[other]\napp_key='a'\napp_secret='b'", "[main]\napp_key=''\napp_secret='b'"])
def test_an_account_that_the_file_lacks_is_missing(tmp_path, text):
    with pytest.raises(MissingKeysError, match=r"\[main\]"):
        read_keys([with_file(tmp_path, text)], {})


@pytest.mark.parametrize(
    "text", ["not toml = = hush", "[main]\napp_key='hush'", "[main]\napp_key=1\napp_secret='hush'"]
)
def test_an_unreadable_file_is_named_without_its_content(tmp_path, text):
    with pytest.raises(MissingKeysError) as caught:
        read_keys([with_file(tmp_path, text)], {})
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("text", ["[main]\n{key} = 'b'", "[{key}]\napp_key = 5", "[main]\n{key}.x = 1\n{key} = 2"])
def test_a_key_that_stands_where_a_name_should_is_not_shown(tmp_path, text):
    key = "PSed321z0Ke8yJ5hUbxPmTq6NcV2RwA7"
    with pytest.raises(MissingKeysError, match=r"app_secret = ") as refused:
        read_keys([with_file(tmp_path, text.format(key=key))], {})
    assert str(tmp_path / "keys.toml") in str(refused.value)
    assert key[:8] not in str(refused.value)


def test_no_account_at_all_is_an_error():
    with pytest.raises(MissingKeysError, match="no account"):
        read_keys([], {})


def test_the_text_of_keys_hides_them():
    keys = AccountKeys("main", "hush", "hush")
    assert "hush" not in f"{keys} {keys!r} {[keys]}"
