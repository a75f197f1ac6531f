"""The files that come with Observer: the configuration with the files that it names, units of service managers, rules.

They are data of the package `observer`, in its folder `shipped`. In a checkout that folder is a link to `config`, so
the repository has each file once; a wheel has copies of the named ones, and none of a person's (pyproject.toml).
"""

from pathlib import Path
from typing import Final

# By this file's path: a folder `observer` where a person works would pass for a part of the package.
_FOLDER: Final = Path(__file__).parents[1] / "shipped"
# What a configuration needs, at the same paths below its folder. Secrets have files of their own, which do not ship.
_OF_A_CONFIGURATION: Final = (
    "observer.toml",
    "trading_days.toml",
    "sessions.toml",
    "provider_pool.json",
    "observer/symbol_selection.json",
    "etf_manual_data.csv",
)


def shipped_folder() -> Path:
    """The folder of all shipped files, which is to be read only."""
    return _FOLDER


def shipped_file(name: str) -> Path:
    """A shipped file by its path below the folder, such as `sessions.toml`."""
    return shipped_folder() / name


def configuration_files() -> list[str]:
    """The names of the files that a new configuration folder gets, the main one first."""
    tables = sorted(path.name for path in shipped_file("sectors").glob("*.json"))
    return [*_OF_A_CONFIGURATION, *(f"sectors/{name}" for name in tables)]
