"""The selection's settings file: the requirement's keys, defaults for missing keys, an error for each wrong key."""

import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from observer.base.errors import ConfigError
from observer.selection.settings import SelectionSettings, keys_without_effect, parse_selection

WRITTEN = b"""{
  "universe": {"generation_time": "05:00", "min_close_price": 4000, "sort_by": "market_cap",
               "exclude_suspended": true, "exclude_managed": false, "min_symbol_count": 100},
  "triggers": {
    "volume_surge": {"enabled": true, "threshold": 3.0, "ttl_seconds": 300, "weight": 10.0},
    "trade_velocity": {"enabled": true, "threshold": 10.0, "ttl_seconds": 180, "weight": 8.0},
    "volatility_spike": {"enabled": true, "threshold": 2.0, "ttl_seconds": 300, "weight": 6.0},
    "manual": {"enabled": true, "ttl_seconds": -1, "weight": 5.0}
  },
  "slots": {"max_slots": 41, "replacement_threshold": 1.2, "overflow_alert_rate": 0.1}
}"""


def problems(document):
    with pytest.raises(ConfigError) as caught:
        parse_selection(msgspec.json.encode(document), "selection.json")
    return [line.removeprefix("selection.json:1: ") for line in str(caught.value).splitlines()]


def test_the_requirement_s_own_example_is_a_whole_file_and_states_our_defaults():
    assert parse_selection(WRITTEN, "here") == SelectionSettings()


def test_the_weight_of_pins_is_named_as_a_key_without_effect():
    assert keys_without_effect(msgspec.json.decode(WRITTEN)) == [("triggers", "manual", "weight")]
    assert keys_without_effect({"triggers": {"manual": 7}, "slots": []}) == []


@pytest.mark.parametrize(
    ("document", "reported"),
    [
        ({"triggers": {"manual": {"threshold": 2.0}}}, "triggers.manual.threshold: a pin is a request"),
        ({"triggers": {"manual": {"full_strength": 2.0}}}, "triggers.manual.full_strength: a pin is a request"),
        ({"triggers": {"market_cap_weight": 1.0}}, "triggers.market_cap_weight: the largest symbols yield"),
    ],
)
def test_a_key_that_could_decide_nothing_is_refused_with_the_reason(document, reported):
    [problem] = problems(document)
    assert problem.startswith(reported)
    assert problem.endswith("remove this key")


def test_one_key_alone_changes_nothing_else():
    found = parse_selection(b'{"triggers": {"volume_surge": {"threshold": 5}}}', "here")
    changed = msgspec.structs.replace(found.triggers.volume_surge, threshold=3.0)
    assert found.triggers.volume_surge.threshold == 5
    assert msgspec.structs.replace(found.triggers, volume_surge=changed) == SelectionSettings().triggers


def test_every_wrong_key_is_reported_at_once_by_its_dotted_name():
    reported = problems(
        {
            "universe": {"min_close_price": -1, "minimum": 5, "sort_by": "volume"},
            "triggers": {"manual": {"ttl_seconds": 0}, "volume_surge": 3},
            "slots": {"overflow_alert_rate": 1.5, "max_slots": "many"},
            "slotz": {},
        }
    )
    assert sorted(re.split("[: ]", line)[0] for line in reported) == [
        "slots.max_slots",
        "slots.overflow_alert_rate",
        "slotz",
        "triggers.manual.ttl_seconds",
        "triggers.volume_surge",
        "universe.min_close_price",
        "universe.minimum",
        "universe.sort_by",
    ]


@pytest.mark.parametrize(
    ("document", "bound"),
    [
        ({"universe": {"min_close_price": -1}}, "universe.min_close_price = -1: must be >= 0"),
        ({"slots": {"overflow_alert_rate": 1.01}}, "slots.overflow_alert_rate = 1.01: must be <= 1"),
        ({"slots": {"replacement_threshold": 0.9}}, "slots.replacement_threshold = 0.9: must be >= 1"),
        ({"triggers": {"manual": {"ttl_seconds": 0}}}, "triggers.manual.ttl_seconds: 0 is neither positive nor -1"),
    ],
)
def test_a_value_out_of_bounds_names_the_bound(document, bound):
    [reported] = problems(document)
    assert reported.startswith(bound)


@pytest.mark.parametrize("time", ["5:00", "24:00", "05:60", "05:00:60", "0500", "05:00\n", "٠٥:٠٠"])
def test_an_invalid_time_is_refused(time):
    [reported] = problems({"universe": {"generation_time": time}})
    assert reported.startswith("universe.generation_time")


def test_only_the_market_capitalisation_is_accepted_as_sort_key():
    [reported] = problems({"universe": {"sort_by": "volume"}})
    assert reported.startswith("universe.sort_by")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"universe": 1e999}'])
def test_an_error_about_invalid_json_names_the_file(content):
    with pytest.raises(ConfigError, match=r"^selection\.json"):
        parse_selection(content, "selection.json")


NAMES = ["universe", "triggers", "slots", "context", "manual", "threshold", "ttl_seconds", "enabled", "max_slots"]
names = st.sampled_from(NAMES) | st.text(max_size=5)
any_json = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=12,
)


@given(any_json)
def test_any_json_is_read_or_refused_with_the_file_s_name_on_every_line(document):
    try:
        settings = parse_selection(msgspec.json.encode(document), "selection.json")
    except ConfigError as error:
        reported = str(error).splitlines()
    else:
        reported = []
        assert settings == msgspec.convert(msgspec.to_builtins(settings), SelectionSettings)
    assert all(line.startswith("selection.json:") for line in reported)
    assert reported or isinstance(document, dict)
