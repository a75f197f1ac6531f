"""The command that adds the packages of an extra to the environment that runs: a checkout's, a wheel's, or pipx's own.

The installed metadata name these packages. So the command needs neither the checkout nor the wheel's file, and no
registry is asked for a package of Observer's name, which is not ours there.
"""

import re
import sys
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from shlex import quote
from typing import Final

_NAME: Final = "observer"
_EXTRA: Final = re.compile(r"""extra\s*==\s*["']([\w-]+)["']""")


def install_command(extra: str, environment: Path | None = None) -> str:
    """What to type to install the extra; `environment` is the folder of the environment, else this process's."""
    packages = " ".join(quote(each) for each in _packages(extra))
    if not packages:  # run from a checkout that is not installed
        return f"pip install --editable '.[{extra}]' in Observer's folder"
    return f"{installer(environment)} {packages}"


def installer(environment: Path | None = None) -> str:
    """What to type before the names of packages; `environment` as above."""
    folder = environment or Path(sys.prefix)
    if (folder / "pipx_metadata.json").exists():
        return f"pipx inject {_NAME}"
    here = Path.cwd()
    shown = folder.relative_to(here) if folder.is_relative_to(here) else folder
    return f"{quote(str(shown / 'bin' / 'python'))} -m pip install"


def _packages(extra: str) -> list[str]:
    """The requirements of the extra, without the condition that they are the extra's."""
    try:
        stated = requires(_NAME) or []
    except PackageNotFoundError:
        return []
    parts = [each.partition(";") for each in stated]
    return [name.strip() for name, _, condition in parts if extra in _EXTRA.findall(condition)]
