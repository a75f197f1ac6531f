"""`observer gaps retry`: an order to the running system to recover gaps again."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

from bus.commands import RetryGaps
from observer.base.errors import ConfigError, NoDataError
from observer.base.settings import RunSettings
from observer.cli import system
from observer.cli.context import ConfigOption, DayOption, JsonOption, base_settings, stored_day
from observer.cli.options import Argument, Option
from observer.store.reader import StoreReader

_NAMED: Final = 3  # ids in an error message

GapsArgument = Annotated[list[str] | None, Argument(help="The gaps, as `observer gaps` names them.")]


def retry(
    gap_id: GapsArgument = None,
    all_open: Annotated[bool, Option("--all-open", help="Retry all gaps without an outcome.")] = False,
    day: DayOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Retry recovery now, also of gaps that were given up. Gaps recovered in part are retried, too.

    A part of an id is enough where no other gap of the day has it.
    """
    if bool(gap_id) == all_open:
        raise ConfigError("no gaps named: give ids of `observer gaps`, or --all-open")
    ids = _full_ids(gap_id, day, config) if gap_id else []
    system.show(system.ask(RetryGaps(ids), config), as_json=as_json)


def _full_ids(texts: Sequence[str], day: str | None, config: Path | None) -> list[str]:
    settings = base_settings(config)
    with StoreReader(settings.store.url) as reader:
        return [full_id(reader, each, day, settings.run) for each in texts]


def full_id(reader: StoreReader, text: str, day: str | None, run: RunSettings) -> str:
    """The id of the one gap that has this id; else of the only one of the day whose id has this part.

    Raises:
        NoDataError: there is none.
        ConfigError: there are several.
    """
    asked = stored_day(reader, day, run)
    found = reader.gap_ids(asked.session_date, text)
    if text in found:
        return text
    if not found:
        raise NoDataError(f"no gap of {asked.title} has {text!r} in its id: `observer gaps` shows them")
    if len(found) > 1:
        others = ", ".join(found[:_NAMED]) + (" ..." if len(found) > _NAMED else "")
        raise ConfigError(f"{len(found)} gaps of {asked.title} have {text!r} in their ids: give more of it ({others})")
    return found[0]
