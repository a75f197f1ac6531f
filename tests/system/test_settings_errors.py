"""Errors of settings files name the line, the key, the value, its bound and the nearest known name."""

import tomllib
from typing import Annotated, Literal

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from observer.base.errors import ConfigError, did_you_mean
from observer.base.settings_errors import (
    converted,
    decode_json,
    decode_toml,
    json_keys,
    toml_lines,
    wrong_settings,
)

TEXT = """\
# level = 1
level = 1

[a]
# size = 2
size = 2
words = [
  "one",  # size = 3
  '''
size = 4
''',
]
pair = { left = 1, right = 2 }
deep.down = 5

[a.b]
"quoted key" = 1
[[a.rows]]
size = 1
[[a.rows]]
size = 2
"""


class Inner(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    low: int = 0
    high: int = 1
    needed: str

    def __post_init__(self):
        if self.low > self.high:
            raise ValueError(f"low: {self.low} is above high: {self.high}")


class Outer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    share: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.5
    color: Literal["red", "green"] | None = None
    name: Annotated[str, msgspec.Meta(pattern="^[a-z]+$", description="a word of small letters")] = "x"
    rows: tuple[Inner, ...] = ()
    keys: dict[str, int] = {}
    app_secret: Annotated[str, msgspec.Meta(max_length=3)] = ""


def reported(text):
    file = decode_toml(text.encode(), "f")
    settings, problems = converted(file, (), Outer)
    assert (settings is None) == bool(problems)
    return str(wrong_settings(file, problems)).splitlines()


def test_a_key_has_the_line_on_which_its_statement_begins():
    lines = toml_lines(TEXT)
    assert lines["level",] == 2
    assert lines["a",] == 4
    assert lines["a", "size"] == 6
    assert lines["a", "words"] == lines["a", "words", 1] == 7
    assert lines["a", "pair", "right"] == 13
    assert lines["a", "deep", "down"] == 14
    assert lines["a", "b"] == 16
    assert lines["a", "b", "quoted key"] == 17
    assert lines["a", "rows", 0] == 18
    assert lines["a", "rows", 0, "size"] == 19
    assert lines["a", "rows", 1, "size"] == 21


def test_a_key_of_json_has_its_line():
    text = '{\n "a": {"b": [1, {"c": "x: {"}],\n  "a": "\\"q\\": 1"},\n "d": [\n  {},\n  {"e": 1}]}'
    assert list(json_keys(text)) == [
        (("a",), 2),
        (("a", "b"), 2),
        (("a", "b", 1), 2),
        (("a", "b", 1, "c"), 2),
        (("a", "a"), 3),
        (("d",), 4),
        (("d", 0), 5),
        (("d", 1), 6),
        (("d", 1, "e"), 6),
    ]


documents = st.recursive(
    st.integers() | st.text(max_size=4) | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def keys_in(document, path=()):
    if isinstance(document, dict):
        return {(*path, key) for key in document} | {
            each for key, value in document.items() for each in keys_in(value, (*path, key))
        }
    if isinstance(document, list):
        return {each for at, value in enumerate(document) for each in keys_in(value, (*path, at))}
    return set()


@given(documents)
def test_every_key_of_any_json_is_found(document):
    text = msgspec.json.format(msgspec.json.encode(document)).decode()
    assert {path for path, _ in json_keys(text) if isinstance(path[-1], str)} == keys_in(document)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("\nshare = 2", ["f:2: share = 2: must be <= 1"]),
        ("share = -0.5", ["f:1: share = -0.5: must be >= 0"]),
        ('share = "half"', ['f:1: share = "half": must be a number, not a text']),
        ("shares = 1", ["f:1: shares: unknown key; did you mean share?"]),
        ("zzz = 1", ["f:1: zzz: unknown key; there are share, color, name, rows, keys, app_secret"]),
        ('color = "gren"', ['f:1: color = "gren": unknown value; did you mean green?']),
        ('name = "A"', ['f:1: name = "A": must be a word of small letters']),
        ("name = 5", ["f:1: name = 5: must be a word of small letters, not a whole number"]),
        ("[[rows]]\nlow = 1", ["f:1: rows[0].needed: is missing"]),
        ('[[rows]]\nlow = 2\nneeded = ""', ["f:2: rows[0].low: 2 is above high: 1"]),
        ("rows = 1", ["f:1: rows = 1: must be a list, not a whole number"]),
        ("[keys]\na = 1.5", ["f:2: keys.a: must be a whole number, not a number"]),
        ('name = "A"\nshare = 2\nshares = 3', ["f:1", "f:2", "f:3"]),
    ],
)
def test_a_wrong_value_is_named_with_its_line_and_the_remedy(text, lines):
    found = reported(text)
    assert len(found) == len(lines)
    assert all(line.startswith(expected) for line, expected in zip(found, lines, strict=True)), found


def test_a_problem_that_follows_from_another_is_not_reported():
    text = '[[rows]]\nneeded = ""\nlow = 2\nhigh = "many"\n'
    assert reported(text) == ['f:4: rows[0].high = "many": must be a whole number, not a text']


@pytest.mark.parametrize(
    ("name", "remedy"),
    [("trackb", "; did you mean track-b?"), ("Track-B", "; did you mean track-b?"), ("x", "; there are etf, track-b")],
)
def test_the_nearest_name_is_proposed_or_else_all_of_them(name, remedy):
    assert did_you_mean(name, ["etf", "track-b"]) == remedy


def test_the_value_of_a_secret_is_not_shown():
    [line] = reported('app_secret = "hush hush"')
    assert "app_secret" in line
    assert "hush" not in line


def test_line_breaks_of_the_file_do_not_break_the_error():
    assert len(reported('"a\\nb" = 1\ncolor = "x\\ny"')) == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[run]\ndata = 1\ndata = 2\n", "f:3: is not TOML: Cannot overwrite a value (data)"),
        ("[run]\n\n[run]\n", "f:3: is not TOML: Cannot declare ('run',) twice ([run])"),
        ("[run]\nurl = hush\n", "f:2: is not TOML: Invalid value (url)"),
        ('a = """', "f:1: is not TOML: "),
        ('[run]\napp_secret "hush"\n', "f:2: is not TOML: Expected '=' after a key in a key/value pair"),
        ('[run]\napp_secret "hush=="\n', "f:2: is not TOML: Expected '=' after a key in a key/value pair"),
        ("[run]\nhushhush=\n", "f:2: is not TOML: Invalid value"),
    ],
)
def test_what_is_no_toml_is_named_by_line_and_key_without_its_value(text, expected):
    with pytest.raises(ConfigError) as caught:
        decode_toml(text.encode(), "f")
    assert str(caught.value).startswith(expected)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{\n"a": 1,\n"b": {"a": 1},\n"a": 2}', "f:2: a: is there twice, again in line 4"),
        ('{\n"a": 1,\n}', "f:3: is not JSON: "),
        ("", "f:1: is not JSON: "),
    ],
)
def test_what_is_no_json_is_named_by_line(text, expected):
    with pytest.raises(ConfigError) as caught:
        decode_json(text.encode(), "f")
    assert str(caught.value).startswith(expected)


@given(st.text(alphabet="[]a.=\"#\n'{}1 ,", max_size=30))
def test_any_text_has_the_lines_of_all_its_keys_or_is_no_toml(text):
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    assert {path for path in toml_lines(text) if isinstance(path[-1], str)} >= keys_in(document)


@given(depth=st.integers(1, 5_000), form=st.sampled_from([("x = ", decode_toml), ("", decode_json)]))
@example(depth=100_000, form=("", decode_json))
@example(depth=100_000, form=("x = ", decode_toml))
def test_a_file_is_read_or_refused_in_one_line_however_deep_it_is_nested(depth, form):
    begin, decode = form
    content = f"{begin}{'[' * depth}{']' * depth}".encode()
    if depth <= 20:
        assert converted(decode(content, "f"), (), Outer)[0] is None
        return
    if depth > 40:
        with pytest.raises(ConfigError, match=r"^f: groups and lists are nested more than 30 deep: remove .*$"):
            decode(content, "f")
