"""The URLs of the alerts' targets: from the environment, or from a file that only its owner can read.

The file is TOML with a line per target: phone = "ntfys://ntfy.example/topic". Nothing keeps a URL longer than its
message needs it: a changed file counts at the next message.
"""

from pathlib import Path

from observer.base.environment import withhold
from observer.base.errors import ConfigError, MissingKeysError
from observer.base.private_file import read_privately
from observer.base.settings_errors import decode_toml
from observer.base.text import conceal
from observer.monitoring.alerts.settings import AlertSettings, variable_of


def url_of(target: str, settings: AlertSettings) -> str:
    """The URL of a target; it is concealed in this process's log and taken out of its environment.

    Raises:
        MissingKeysError: there is none, or others may read the file; names the remedy.
    """
    variable, path = variable_of(target), Path(settings.targets_file).expanduser()
    url = withhold([variable]).get(variable, "").strip() or _in_file(target, variable, path)
    conceal(url)
    return url


def require_urls(settings: AlertSettings) -> None:
    """Return if each target has a URL.

    Raises:
        MissingKeysError: naming everything that is missing.
    """
    problems = []
    for name in settings.targets:
        try:
            url_of(name, settings)
        except MissingKeysError as error:
            problems.append(f"alert target {name}: {error}")
    if problems:
        raise MissingKeysError("\n".join(problems))


def _in_file(target: str, variable: str, path: Path) -> str:
    """Raises MissingKeysError without any part of the file."""
    try:
        url = decode_toml(read_privately(path), str(path)).content.get(target)
    except FileNotFoundError:
        raise MissingKeysError(f"no URL: set {variable}, or create {path} (mode 600)") from None
    except MissingKeysError:
        raise
    except ConfigError:
        raise MissingKeysError(f'{path} is not TOML: write NAME = "URL", each on a line of its own') from None
    if not isinstance(url, str) or not url.strip():
        raise MissingKeysError(f'no URL: set {variable}, or write {target} = "URL" in {path}')
    return url.strip()
