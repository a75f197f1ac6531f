"""The configuration's files in a package: those that the configuration names, without secrets."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import tomli_w

from observer.base.settings import RunSettings
from observer.brokers.redaction import REDACTED
from observer.reference.etf.settings import EtfSettings
from observer.store.engine import SECRET_OPTIONS

# `token_renewal` and `keys_file` say when and where; `app_keys` is the simulated broker's table of keys.
_SECRET_NAMES: Final = re.compile(
    r"(?:.*_)?(?:secret|password|passwd|token|app_?key|app_?keys|app_?secret|auth_key|api_key|approval_key)\Z",
    re.IGNORECASE,
)
# SQLAlchemy's addresses: a user may hold an "@", a password a "/"; what was meant to be escaped is blanked out, too.
_PASSWORD_IN_URL: Final = re.compile(r"(?P<user>\w[\w+.-]*://[^/\s:]*):[^@\s]+(?:@[^@/\s]+)*@")
_PASSWORD_PARAMETER: Final = re.compile(
    rf"(?P<name>[?&](?:{'|'.join(sorted({'password', *SECRET_OPTIONS}))})=)[^&\s]+", re.IGNORECASE
)
_NAMED_BY_RUN: Final = ("provider_pool", "symbol_selection", "trading_days", "sessions")


def configuration_files(path: Path) -> Mapping[str, bytes]:
    """The contents of the configuration and of the files that it names, by file name; files that are absent or cannot
    be read as what they are are left out. Files of keys are not among them.
    """
    document = _toml(path)
    if document is None:
        return {}
    found = {path.name: tomli_w.dumps(redacted(document)).encode()}
    for named in _named_by(document):
        if (content := _content(named)) is not None:
            found.setdefault(named.name, content)
    return found


def redacted(value: Any) -> Any:
    """The document with `***` in the place of each secret: by the name of its key, and passwords inside URLs."""
    match value:
        case dict():
            return {name: REDACTED if _SECRET_NAMES.match(name) else redacted(each) for name, each in value.items()}
        case list():
            return [redacted(each) for each in value]
        case str():
            without = _PASSWORD_IN_URL.sub(rf"\g<user>:{REDACTED}@", value)
            return _PASSWORD_PARAMETER.sub(rf"\g<name>{REDACTED}", without)
    return value


def _named_by(document: Mapping[str, Any]) -> list[Path]:
    defaults, run, etf = RunSettings(), _section(document, "run"), _section(document, "etf")
    names = [run.get(key, getattr(defaults, key)) for key in _NAMED_BY_RUN]
    names.append(etf.get("manual_file", EtfSettings().manual_file))
    return [Path(name) for name in names if isinstance(name, str)]


def _section(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = document.get(name)
    return section if isinstance(section, dict) else {}


def _content(path: Path) -> bytes | None:
    try:
        if path.suffix == ".json":
            return msgspec.json.format(msgspec.json.encode(redacted(msgspec.json.decode(path.read_bytes()))), indent=2)
        if path.suffix == ".toml":
            document = _toml(path)
            return None if document is None else tomli_w.dumps(redacted(document)).encode()
        return path.read_bytes()
    except (OSError, ValueError, RecursionError):
        return None


def _toml(path: Path) -> dict[str, Any] | None:
    try:
        return tomllib.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return None
