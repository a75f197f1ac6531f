"""A wheel of this checkout, and clean environments with it: no network, and no path back into the checkout."""

import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
BUILT_FROM: Final = ("pyproject.toml", "README.md", "LICENSE", "OPERATIONS.md", "supervisord.conf")
PACKAGES: Final = ("observer", "bus", "workers", "migrations", "config")
SECRET: Final = "PSnever-in-a-wheel"


def build(folder: Path) -> Path:
    """Build the wheel from a copy with a person's files in it, as a checkout that runs has them."""
    checkout = folder / "checkout"
    checkout.mkdir()
    for name in BUILT_FROM:
        shutil.copy(ROOT / name, checkout)
    for name in PACKAGES:
        shutil.copytree(ROOT / name, checkout / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    (checkout / "config" / "keys.toml").write_text(f'[main]\napp_key = "{SECRET}"\napp_secret = "{SECRET}"\n')
    (checkout / "config" / "sectors" / "mine.json").write_text(f'"{SECRET}"')
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder)]
    _run(sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", *options, str(checkout))
    shutil.rmtree(checkout)
    [wheel] = folder.glob("*.whl")
    return wheel


def install(wheel: Path, folder: Path) -> Path:
    """A new environment with the wheel, and the other packages of ours by their path; returns its program."""
    venv.create(folder, with_pip=False)
    interpreter = str(folder / "bin" / "python")
    options = ["--quiet", "--no-deps", "--no-index", "--no-warn-script-location"]
    _run(
        sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", interpreter, "install", *options, wheel
    )
    [packages] = folder.glob("lib/python*/site-packages")
    # One line that is a path: the links to the checkout, which are lines of files there, are not followed.
    (packages / "others.pth").write_text(sysconfig.get_path("purelib"))
    return folder / "bin" / "observer"


def names_in(wheel: Path) -> list[str]:
    """The paths of the wheel's files."""
    with zipfile.ZipFile(wheel) as packed:
        return packed.namelist()


def holds(wheel: Path, text: str) -> bool:
    """Whether any of the wheel's files has the text in it."""
    with zipfile.ZipFile(wheel) as packed:
        return any(text.encode() in packed.read(name) for name in packed.namelist())


def _run(*words: str | Path) -> None:
    ran = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False, timeout=240)
    assert ran.returncode == 0, ran.stderr
