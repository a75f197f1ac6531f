"""Inputs for which a decoder once raised something else than its error, or took without limit."""

from pathlib import Path

import pytest
import zstandard

from observer.base.errors import DataFileError
from tests.fuzz.broker_targets import SECRET
from tests.fuzz.target import chosen, finding_of
from tests.fuzz.targets import named

DEEP = b"[" * 5_000
DIGITS = b"9" * 5_000  # Python refuses to make a number of more than 4,300
MANIFEST = named("manifest").seeds()[0][1:]


def found(name, number, content):
    [seed] = [content] if number is None else chosen(number, content)
    return finding_of(named(name), seed)


@pytest.mark.parametrize(
    ("target", "number", "content"),
    [
        pytest.param("manifest", 0, MANIFEST.replace(b"kr_stocks", b"kr\xff"), id="manifest that is no UTF-8"),
        pytest.param("manifest", 0, MANIFEST.replace(b'"format": 1', b'"x": ' + DEEP), id="manifest nested too deep"),
        pytest.param("manifest", 0, MANIFEST.replace(b"1795", b"1795" + b"0" * 40), id="manifest of a far time"),
        pytest.param("manifest", 1, b'{"manifest_sha256":"\xff"}', id="mark of a verified package that is no UTF-8"),
        pytest.param("settings_redacted", None, b"a = " + DEEP, id="configuration nested too deep, in a package"),
        pytest.param("keys_file", 0, b"a = " + DIGITS, id="number of too many digits in a file of keys"),
        pytest.param("keys_file", 0, b"a = " + DEEP, id="file of keys nested too deep"),
        pytest.param("keys_file", 1, b"[open_api]\nauth_key = " + DIGITS, id="number of too many digits in KRX's keys"),
        pytest.param("keys_file", 1, b"[open_api]\nauth_key = " + DEEP, id="KRX's keys nested too deep"),
        pytest.param(
            "account_files",
            0,
            b'{"access_token":"t","approval_key":"k","issued_ns":1,"expires_ns":2,"renewed_ns":1}--\xff',
            id="note of a rejected token that is no UTF-8",
        ),
        pytest.param("account_files", 0, b'{"x":' + DEEP, id="token file nested too deep"),
        pytest.param("account_files", 1, b'{"x":' + DEEP, id="health file nested too deep"),
        pytest.param("trading_days", 0, b'[{"x":' + DEEP + b'\n--\n{"x":' + DEEP, id="trading days nested too deep"),
        pytest.param("trading_days", 0, b'[{"source":"\xff"}]\n--\n{"answer":"\xff"}', id="trading days not in UTF-8"),
        pytest.param("runtime_files", 2, b'{"boot":"\xff"}', id="registry of processes that is no UTF-8"),
        pytest.param("runtime_files", 2, b'{"x":' + DEEP, id="registry of processes nested too deep"),
        pytest.param("runtime_files", 3, b'{"capture_id":"\xff"}', id="request of a raw capture that is no UTF-8"),
        pytest.param("stream_reply", None, b'{"header":{},"x":' + DEEP, id="reply of the stream nested too deep"),
        pytest.param("yahoo", 1, DEEP, id="answer of Yahoo nested too deep"),
        pytest.param("yahoo", 1, b'{"\\ud800":1}', id="answer of Yahoo with a lone surrogate"),
        pytest.param("settings_toml", None, b"a = " + DIGITS, id="number of too many digits in the configuration"),
        pytest.param("settings_json", 0, b'{"x":' + DEEP, id="account file nested too deep"),
        pytest.param("trading_days", 1, b"a = '\xff'", id="reviewed trading days that are no UTF-8"),
        pytest.param("trading_days", 1, b"a = " + DEEP, id="reviewed trading days nested too deep"),
        pytest.param("trading_days", 1, b"a = " + DIGITS, id="number of too many digits in reviewed trading days"),
        pytest.param("runtime_files", 0, b'{"\xff":1}', id="open alerts that are no UTF-8"),
        pytest.param("runtime_files", 0, b'{"a":{"x":' + DEEP, id="open alerts nested too deep"),
        pytest.param("runtime_files", 1, b'{"\xff":1}', id="silences that are no UTF-8"),
        pytest.param("reference_files", 0, b'{"sha256":"\xff"}', id="note of a master file that is no UTF-8"),
        pytest.param("reference_files", 0, b'{"x":' + DEEP, id="note of a master file nested too deep"),
        pytest.param(
            "settings_toml",
            None,
            b"[run]\n" + b"".join(b"a%d=1\n" % number for number in range(1_500)),
            id="configuration of many wrong lines, which took seconds",
        ),
        pytest.param(
            "archive",
            None,
            zstandard.ZstdCompressor().compress(bytes(200_000_000)),
            id="archived segment of some KB that unpacked to 200 MB",
        ),
        pytest.param("outbox_notes", 0, b"ab " + DIGITS + b" 00\n", id="number of too many digits in an outbox's note"),
        pytest.param(
            "outbox",
            None,
            b"\n--\n".join([b"", b"", b"", b"", b"ab" * 16 + "-²".encode()]),
            id="file in an outbox whose number is no number of Python",
        ),
        pytest.param(
            "shown_text",
            None,
            f"{SECRET[:13]}\u200b{SECRET[13:26]}\x1b{SECRET[26:]}".encode(),
            id="secret with signs in it that are not seen",
        ),
        pytest.param("processes", 0, b"x.1." + DIGITS, id="mark with too many digits in another process"),
        pytest.param("reference_files", 4, b'["q",1,[],' + DEEP, id="kept answer nested too deep"),
        pytest.param("reference_files", 5, b'{"x":' + DEEP, id="table of sector codes nested too deep"),
    ],
)
def test_an_input_that_once_escaped_gives_a_value_or_the_decoders_error(target, number, content):
    assert found(target, number, content) is None


@pytest.mark.parametrize("path", ["../x", "universe/../../x", "/etc/x", "", ".", "a\\u0000b"])
def test_a_manifest_that_names_a_file_outside_its_package_is_refused(path):
    content = MANIFEST.replace(b"universe/20261120_kr_stocks.json", path.encode())
    with pytest.raises(DataFileError, match="no file of the package"):
        named("manifest").run(b"\0" + content)


def test_a_capture_that_is_refused_leaves_no_open_file():
    assert found("capture", None, b"raw 1 kis x") is None
    is_open = {each.resolve().name for each in Path("/proc/self/fd").iterdir()}  # the listing's own is gone by then
    assert "x.journal" not in is_open
