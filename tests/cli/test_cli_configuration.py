"""The configuration file: every wrong key is named at once, and the one that we ship states the defaults."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from observer.base.errors import ConfigError
from observer.base.settings_errors import SettingsFile, decode_toml
from observer.brokers.accounts.pool import AccountSettings, PoolSettings, parse_pool
from observer.selection.settings import SelectionSettings, UniverseSettings, parse_selection
from observer.simulator.kis.authentication import CALLS_PER_S
from observer.system.config import Settings, load_settings, settings_of
from tests.day_plans import RULES

SHIPPED = Path(__file__).parents[2] / "config" / "observer.toml"
SHIPPED_POOL = SHIPPED.with_name("provider_pool.json")
SHIPPED_SELECTION = SHIPPED.parent / "observer" / "symbol_selection.json"
SHIPPED_SESSIONS = SHIPPED.with_name("sessions.toml")
OTHER_FILES = {"pool", "keys_digest", "selection", "sessions"}  # what comes from files of their own


def problems(text, tmp_path):
    path = tmp_path / "observer.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_settings(path)
    lines = str(caught.value).splitlines()
    assert all(line.startswith(str(path)) for line in lines)
    return [line.removeprefix(f"{path}:") for line in lines]


@pytest.mark.parametrize(
    ("section", "key", "address", "what"),
    [
        ("kis", "rest_url", "http://openapi.example.com:9443", "http:// to openapi.example.com is not encrypted"),
        ("kis", "files_url", "http://10.0.0.7/files", "http:// to 10.0.0.7 is not encrypted"),
        ("kis", "stream_url", "ws://stream.example.com:21000", "ws:// to stream.example.com is not encrypted"),
        ("kis", "rest_url", "http://127.0.0.1.example.com", "http:// to 127.0.0.1.example.com is not encrypted"),
        ("kis", "rest_url", "http://127.0.0.1@example.com", "http:// to example.com is not encrypted"),
        ("kis", "rest_url", "HTTP://EXAMPLE.com", "http:// to example.com is not encrypted"),
        ("etf.krx", "data_url", "http://data.krx.co.kr", "http:// to data.krx.co.kr is not encrypted: write https://"),
    ],
)
def test_a_connection_that_is_not_encrypted_is_refused_in_one_line(tmp_path, section, key, address, what):
    [line] = problems(f'[{section}]\n{key} = "{address}"\n', tmp_path)
    assert f"{section}.{key}: {what}" in line


@pytest.mark.parametrize("host", ["127.0.0.1:8900", "localhost:8900", "[::1]:8900", "127.8.8.8"])
def test_a_host_on_this_machine_and_the_brokers_own_plain_stream_are_accepted(tmp_path, host):
    path = tmp_path / "observer.toml"
    path.write_text(f'[kis]\nrest_url = "http://{host}"\nstream_url = "ws://ops.koreainvestment.com:31000"\n')
    assert load_settings(path).brokers["kis"].rest_url == f"http://{host}"


def test_a_configuration_that_does_not_end_is_refused():
    with pytest.raises(ConfigError, match="more than 4,000,000 bytes"):
        load_settings(Path("/dev/zero"))


def test_an_empty_file_has_the_defaults(tmp_path):
    path = tmp_path / "observer.toml"
    path.touch()
    assert load_settings(path) == Settings(sessions=RULES.sessions)


def test_the_wrong_keys_of_all_sections_are_named_at_once(tmp_path):
    text = """
        [track_a]
        interval = 5
        [run]
        log_level = "LOUD"
        [kis.rate_limit]
        calls_per_second = "many"
        [track_b]
        evaluation_s = 5
    """
    reported = problems(text, tmp_path)
    assert reported == [
        "3: track_a.interval: unknown key; did you mean interval_s?",
        '5: run.log_level = "LOUD": unknown value; there are DEBUG, ERROR, INFO, WARNING',
        '7: kis.rate_limit.calls_per_second = "many": must be a number, not a text',
    ]


@pytest.mark.parametrize(
    ("section", "line", "named"),
    [
        ("rate_limit", "calls_per_second = 0.0", "calls_per_second: 0.0"),
        ("rate_limit", "calls_per_minute = nan", "calls_per_minute: nan"),
        ("rate_limit", "penalty_s = -1.0", "penalty_s: -1.0"),
        ("stream", "attempts_per_hour = 6", "attempts_per_hour: 6"),
        ("stream", "changes_per_minute = 0", "changes_per_minute"),
        ("stream", "silence_s = 0.0", "silence_s"),
    ],
)
def test_an_invalid_limit_of_a_broker_is_named_when_the_file_is_read(tmp_path, section, line, named):
    [reported] = problems(f"[kis.{section}]\n{line}\n", tmp_path)
    assert reported.startswith(f"2: kis.{section}.{named}")


def test_an_unknown_section_is_named(tmp_path):
    assert problems("[stor]\n[track_c]\n", tmp_path) == [
        "1: stor: unknown section; did you mean store?",
        "2: track_c: unknown section; did you mean track_b?",
    ]


def test_evaluations_so_far_apart_that_the_tape_would_take_track_b_for_dead_are_refused(tmp_path):
    [reported] = problems("[track_b]\nevaluation_s = 300.5\n", tmp_path)
    assert reported.startswith("2: track_b.evaluation_s: 300.5 must be at most 300.0: after 600 s without")
    longest = tmp_path / "observer.toml"
    longest.write_text("[track_b]\nevaluation_s = 300\n")
    assert load_settings(longest).streaming.track_b.evaluation_s == 300


def test_bytes_that_are_no_text_are_not_toml_either(tmp_path):
    path = tmp_path / "observer.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="is not TOML"):
        load_settings(path)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read .*absent\.toml: No such file"):
        load_settings(tmp_path / "absent.toml")


def test_a_section_that_is_no_table_is_refused():
    with pytest.raises(ConfigError, match=r"here:1: run = 5: must be a group of keys"):
        settings_of(decode_toml(b"run = 5", "here"))


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    """Paths in a configuration count from the folder that one is in; here no keys file of a user is."""
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")


def test_the_shipped_file_states_the_defaults():
    assert load_settings(SHIPPED) == Settings(sessions=RULES.sessions)


def test_the_shipped_file_of_the_accounts_states_the_defaults():
    assert parse_pool(SHIPPED_POOL.read_bytes(), "shipped") == PoolSettings()


def test_the_shipped_file_of_the_accounts_has_every_key():
    [account] = msgspec.json.decode(SHIPPED_POOL.read_bytes())["provider_pool"]["accounts"]
    assert set(account) == set(AccountSettings.__struct_fields__)
    assert set(msgspec.json.decode(SHIPPED_POOL.read_bytes())["provider_pool"]) == set(PoolSettings.__struct_fields__)


def test_the_shipped_file_of_the_selection_states_the_defaults_and_has_every_key():
    assert parse_selection(SHIPPED_SELECTION.read_bytes(), "shipped") == SelectionSettings()
    written = msgspec.json.decode(SHIPPED_SELECTION.read_bytes())
    assert _keys(written) == _keys(msgspec.to_builtins(SelectionSettings()))


def test_the_section_of_the_selection_is_refused_with_its_new_location(tmp_path):
    [reported] = problems("[selection.slots]\nmax_slots = 5\n", tmp_path)
    assert "symbol_selection" in reported


def test_a_selection_file_that_is_configured_must_exist(tmp_path):
    (tmp_path / "observer.toml").write_text('[run]\nsymbol_selection = "absent.json"\n')
    with pytest.raises(ConfigError, match=r'2: run.symbol_selection = "absent.json": cannot read'):
        load_settings(tmp_path / "observer.toml")


def test_the_file_of_the_selection_is_read(tmp_path):
    (tmp_path / "selection.json").write_text('{"universe": {"generation_time": "04:30"}}')
    (tmp_path / "observer.toml").write_text(f'[run]\nsymbol_selection = "{tmp_path}/selection.json"\n')
    settings = load_settings(tmp_path / "observer.toml")
    assert settings.selection == SelectionSettings(universe=UniverseSettings(generation_time="04:30"))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            '[track_a]\nsessions = ["requirment"]\n',
            'track_a.sessions = "requirment": unknown profile or session; did you',
        ),
        (
            '[track_b]\nsessions = ["KRX.after", "X.Y"]\n',
            'track_b.sessions = "X.Y": unknown profile or session; there are',
        ),
        ('[track_b]\nsessions = ["whole-day"]\n', "track_b.sessions: stream beyond the sweeps of track_a.sessions"),
        ('[track_a]\nsessions = ["KRX.single_price"]\n', "track_a.sessions: no venue holds any of these now"),
        ("[track_b]\nsessions = []\n", "track_b.sessions: no venue holds any of these now"),
        ('[schedule]\nwake_up = "09:30"\n', "schedule.wake_up: is after the first sweep"),
    ],
)
def test_sessions_that_cannot_be_collected_are_named_in_one_line(tmp_path, text, problem):
    [line] = problems(text, tmp_path)
    assert problem in line


def test_a_file_of_sessions_that_is_configured_must_exist(tmp_path):
    (tmp_path / "observer.toml").write_text('[run]\nsessions = "absent.toml"\n')
    with pytest.raises(ConfigError, match=r"run\.sessions = 'absent.toml': No such file or directory: work in"):
        load_settings(tmp_path / "observer.toml")


def test_the_sessions_of_the_named_file_are_read(tmp_path):
    later = SHIPPED_SESSIONS.read_text().replace(
        "opens = 16:00:00\ncloses = 20:00:00", "opens = 16:10:00\ncloses = 20:00:00"
    )
    (tmp_path / "sessions.toml").write_text(later)
    (tmp_path / "observer.toml").write_text(f'[run]\nsessions = "{tmp_path}/sessions.toml"\n')
    [after] = [each for each in load_settings(tmp_path / "observer.toml").sessions.session if each.name == "KRX.after"]
    assert f"{after.opens:%H:%M}" == "16:10"


@pytest.mark.parametrize("section", ["pool", "keys_digest", "account"])
def test_accounts_are_no_section_of_the_file(tmp_path, section):
    [reported] = problems(f"[{section}]\n", tmp_path)
    assert reported.startswith(f"1: {section}: unknown section")


def test_accounts_of_another_market_than_the_instance_s_are_refused(tmp_path):
    (tmp_path / "observer.toml").write_text('[instance]\nmarket = "elsewhere"\n')
    with pytest.raises(ConfigError, match=r'2: instance.market = "elsewhere": account main trades kr_stocks'):
        load_settings(tmp_path / "observer.toml")


def test_an_accounts_file_that_is_configured_must_exist(tmp_path):
    (tmp_path / "observer.toml").write_text('[run]\nprovider_pool = "absent.json"\n')
    with pytest.raises(ConfigError, match=r'2: run.provider_pool = "absent.json": cannot read'):
        load_settings(tmp_path / "observer.toml")


def test_errors_in_the_file_of_the_accounts_name_it(tmp_path):
    (tmp_path / "pool.json").write_text('{"provider_pool": {"accounts": [{"account_id": "a b"}]}}')
    (tmp_path / "observer.toml").write_text(f'[run]\nprovider_pool = "{tmp_path}/pool.json"\n')
    with pytest.raises(
        ConfigError, match=r'pool\.json:1: provider_pool\.accounts\[0\]\.account_id = "a b": must be a name'
    ):
        load_settings(tmp_path / "observer.toml")


def test_the_default_rate_is_what_the_broker_admits_also_beside_other_keys():
    """The simulator states the broker's limit independently."""
    for document in ({}, {"kis": {"rate_limit": {"penalty_s": 2.0}}}):
        rate_limit = settings_of(SettingsFile("test", document)).brokers["kis"].rate_limit
        assert rate_limit.calls_per_second == CALLS_PER_S == 18


def test_the_shipped_file_has_every_key():
    """The shipped file omits simulator settings and tables without defaults."""
    written = _keys(msgspec.toml.decode(SHIPPED.read_bytes()))
    sections = {name: value for name, value in msgspec.to_builtins(Settings()).items() if name not in OTHER_FILES}
    possible = _keys(sections | sections.pop("brokers"))
    # sections without a default, those that turn something on, a key whose default depends on another one, and one that
    # needs a section which is off
    switched_off = {"lake", "tape", "metrics", "web"}
    assert possible - written == {"simulator", "run.endpoints", "kis.paper", "store.keep_days", *switched_off}
    assert written <= possible


def _keys(document, prefix=""):
    """The dotted names of all values."""
    if not isinstance(document, dict):
        return {prefix.removesuffix(".")}
    return {key for name, value in document.items() for key in _keys(value, f"{prefix}{name}.")}


any_value = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["rest", "kind", "at", "x"]), inner, max_size=2)
    ),
    max_leaves=5,
)
SHIPPED_KEYS = sorted(_keys(msgspec.toml.decode(SHIPPED.read_bytes())))
LEAVES = [*SHIPPED_KEYS, "simulator.faults", "simulator.app_keys", "kis.x.y"]


@given(st.dictionaries(st.sampled_from(LEAVES), any_value, min_size=1, max_size=4))
def test_any_document_is_read_or_refused_with_one_line_a_problem(values):
    document: dict[str, Any] = {}
    for name, value in values.items():
        *path, last = name.split(".")
        part = document
        for step in path:
            part = part.setdefault(step, {})
        part[last] = value
    reported = ["here: "]
    try:
        settings_of(SettingsFile("here", document))
    except ConfigError as error:
        reported = str(error).splitlines()
    assert all(line.startswith("here: ") for line in reported)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('venues = ["NXT", "KRX"]', 'universe.venues = "NXT": the first venue is the broker\'s main one, KRX'),
        (
            'venues = ["KRX", "NYSE"]',
            'universe.venues = "NYSE": the broker does not serve this venue; there are KRX, NXT',
        ),
        ('venues = ["KRX", "NXT"]', 'universe.venues = "NXT": track_a.sessions has no session of this venue'),
        ('venues = ["KRX", "KRX"]', "must name the main venue first, and each venue once"),
        ("venues = []", "must name the main venue first, and each venue once"),
    ],
)
def test_venues_that_cannot_be_collected_are_named(tmp_path, text, problem):
    [line] = [line for line in problems(f"[universe]\n{text}\n", tmp_path) if problem in line]
    assert line.startswith("2: universe.venues")


def test_both_venues_are_accepted_with_a_profile_that_has_both(tmp_path):
    path = tmp_path / "observer.toml"
    path.write_text('[universe]\nvenues = ["KRX", "NXT"]\n[track_a]\nsessions = ["whole-day"]\n')
    assert load_settings(path).universe.further == ("NXT",)
