"""`observer alerts test`: a message to each target of alerts, and what became of it."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Final

import click
import msgspec
from click.exceptions import Exit

from observer.base.environment import withhold
from observer.base.errors import ConfigError, MissingKeysError, did_you_mean
from observer.cli.context import ConfigOption, JsonOption, full_settings, print_json
from observer.cli.options import Option
from observer.monitoring.alerts.delivery import result_of, system_name
from observer.monitoring.alerts.routing import trial_message
from observer.monitoring.alerts.sending import result_text
from observer.monitoring.alerts.settings import AlertSettings, variable_of

_SHOWN_AFTER_S: Final = 2.0  # machine seconds; what is over sooner needs no line


class TargetResult(msgspec.Struct, frozen=True):
    """Whether a target accepted the test message; `failure` says why not, empty if it did."""

    target: str
    is_sent: bool
    failure: str


def send_test(
    target: Annotated[str | None, Option("--target", metavar="NAME", help="Only to this target.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send a test message to the targets of alerts.

    One line for each target of [alerts.targets]: sent, or why not. It works with and without a running system, and
    changes nothing there. A URL that only the system's environment has must be set for this command, too.

    Exit status 1: a target did not accept the message.
    """
    settings = full_settings(config)
    withhold([variable_of(name) for name in settings.alerts.targets])  # each sending process gets its own URL alone
    names = _asked(settings.alerts, target)
    results = asyncio.run(_results(settings.alerts, names, system_name(settings.instance.name), as_json=as_json))
    if as_json:
        print_json({"targets": results})
    if not all(each.is_sent for each in results):
        raise Exit(1)


def _asked(settings: AlertSettings, target: str | None) -> Sequence[str]:
    if not settings.targets:
        raise ConfigError("no target of alerts is configured: add a section [alerts.targets.NAME] (OPERATIONS.md)")
    if target is None:
        return list(settings.targets)
    if target not in settings.targets:
        raise ConfigError(f"no target is named {target!r}{did_you_mean(target, settings.targets)}")
    return [target]


async def _results(settings: AlertSettings, names: Sequence[str], system: str, *, as_json: bool) -> list[TargetResult]:
    """Send to all at once; print each result when it is there."""

    async def result(name: str) -> TargetResult:
        try:
            sent = await result_of(name, trial_message(name, system), settings)
            failure = "" if sent.outcome == "sent" else result_text(sent, settings.timeout_s)
        except MissingKeysError as error:
            failure = str(error)
        if not as_json:
            click.echo(f"{name}: {failure or 'sent'}")
        return TargetResult(name, not failure, failure)

    tasks = [asyncio.create_task(result(name)) for name in names]
    _, waiting = await asyncio.wait(tasks, timeout=_SHOWN_AFTER_S)
    if waiting:
        click.echo(f"waiting for {len(waiting)} of {len(names)} targets, at most {settings.timeout_s:g} s", err=True)
    return await asyncio.gather(*tasks)
