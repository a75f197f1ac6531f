"""`observer config`: the effective configuration, what is wrong in it, what differs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec

from bus.commands import Reload
from observer.base.errors import ConfigError, did_you_mean
from observer.cli.config_values import Value, differences, with_origins
from observer.cli.context import ConfigOption, ExaminedOption, examined_configuration
from observer.cli.frame import Answer
from observer.cli.options import Argument, Option
from observer.cli.system import asking
from observer.cli.tables import Table, show_text
from observer.system.config import Settings, load_settings
from observer.system.doctor.notices import notices_of

_NONE = "(none)"


def show_config(
    section: Annotated[str | None, Argument(help="Only this section, e.g. track_b.sampling; default: all.")] = None,
    origin: Annotated[bool, Option(help="Also where each value is from: default, or file and line.")] = False,
    *,
    path: ExaminedOption,
) -> Answer:
    """Show the effective configuration. The defaults are in it, secrets never are.

    Keys of the accounts' file begin with provider_pool, those of the selection's with symbol_selection.
    """
    values = _within(section, with_origins(path, load_settings(path)))
    rows = [(each.key, _text(each.value), *([each.origin] if origin else [])) for each in values]
    columns = ("key", "value", *(["origin"] if origin else []))
    table = Table(columns, rows, f"Configuration {path}", folded=("value",))
    return Answer(values if origin else {each.key: each.value for each in values}, table)


def check_config(
    file: Annotated[Path | None, Argument(metavar="[FILE]", help="The file; default: that of --config.")] = None,
    config: ConfigOption = None,
) -> Answer:
    """Check a configuration and the files it names. All errors at once, each with file, line and key.

    Also warns of keys that nothing reads, and of named files that are not there. Exit status 1 when there is an error;
    warnings alone are status 0.
    """
    path = file or examined_configuration(config)
    problems, notices = _checked(path)
    lines = [*(f"error: {line}" for line in problems), *(f"warning: {line}" for line in notices)]
    text = "\n".join(lines or [f"{path}: nothing is wrong"])
    return Answer({"problems": problems, "notices": notices}, lambda: show_text(text), status=int(bool(problems)))


def _checked(path: Path) -> tuple[Sequence[str], Sequence[str]]:
    """Errors and warnings.

    Raises:
        ConfigError: there is no such file.
    """
    try:
        return [], list(notices_of(path, load_settings(path)))
    except ConfigError as error:
        if not path.is_file():
            raise
        return str(error).splitlines(), []


def diff_config(
    file: Annotated[Path | None, Argument(metavar="[FILE]", help="Another configuration.")] = None,
    defaults: Annotated[bool, Option(help="Compare with the defaults.")] = False,
    config: ConfigOption = None,
) -> Answer:
    """Show what differs: from another file, or from the defaults.

    Without either: which processes of the running system a reload of the file would restart; nothing is restarted.
    """
    if file is not None and defaults:
        raise ConfigError("give another file, or --defaults, not both")
    if file is None and not defaults:
        return asking(config)(Reload(dry_run=True))
    path = examined_configuration(config)
    other = Settings() if file is None else load_settings(file)
    found = differences(load_settings(path), other)
    name = "defaults" if file is None else str(file)
    if not found:
        return Answer(found, lambda: show_text(f"{path} and {name}: no difference"))
    rows = [(each.key, _text(each.value), _text(each.other)) for each in found]
    return Answer(found, Table(("key", str(path), name), rows, "", folded=(str(path), name)))


def _within(section: str | None, values: Sequence[Value]) -> Sequence[Value]:
    if section is None:
        return values
    found = [each for each in values if each.key == section or each.key.startswith((f"{section}.", f"{section}["))]
    if not found:
        known = {each.key.partition(".")[0] for each in values}
        raise ConfigError(f"{section}: no such section or key{did_you_mean(section, sorted(known))}")
    return found


def _text(value: object) -> str:
    return _NONE if value is None else msgspec.json.encode(value).decode()
