"""A wheel of this checkout, and clean environments with it: no network, and no path back into the checkout."""

import json
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path
from typing import Final

from observer.store.schema import SCHEMA_REVISION
from tests.waiting import DEADLINE_S

ROOT: Final = Path(__file__).parents[2]
BUILT_FROM: Final = ("pyproject.toml", "README.md", "LICENSE", "OPERATIONS.md", "supervisord.conf")
PACKAGES: Final = ("observer", "bus", "workers", "migrations", "config")
VERSION: Final = "0.1.0"
LATER: Final = "0.1.1"
LATER_SCHEMA: Final = "9999"
SECRET: Final = "PSnever-in-a-wheel"


LATER_MIGRATION: Final = """
\"\"\"A table more.\"\"\"

from alembic import op

revision, down_revision, branch_labels, depends_on = "LATER", "EARLIER", None, None


def upgrade() -> None:
    op.execute("CREATE TABLE later (id INTEGER PRIMARY KEY)")
"""


def build(folder: Path, *, is_later: bool = False) -> Path:
    """Build the wheel from a copy with a person's files in it, as a checkout that runs has them. A later one has
    another version, and a migration more.
    """
    checkout = folder / "checkout"
    checkout.mkdir()
    for name in BUILT_FROM:
        shutil.copy(ROOT / name, checkout)
    for name in PACKAGES:
        shutil.copytree(ROOT / name, checkout / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    (checkout / "config" / "keys.toml").write_text(f'[main]\napp_key = "{SECRET}"\napp_secret = "{SECRET}"\n')
    (checkout / "config" / "sectors" / "mine.json").write_text(f'"{SECRET}"')
    if is_later:
        project = checkout / "pyproject.toml"
        project.write_text(project.read_text().replace(f'version = "{VERSION}"', f'version = "{LATER}"', 1))
        code = checkout / "observer" / "store" / "schema.py"
        stated = "SCHEMA_REVISION: Final = "
        code.write_text(re.sub(f"^{stated}.*", f'{stated}"{LATER_SCHEMA}"', code.read_text(), flags=re.MULTILINE))
        migration = LATER_MIGRATION.replace("EARLIER", SCHEMA_REVISION).replace("LATER", LATER_SCHEMA).lstrip()
        (checkout / "migrations" / "versions" / f"{LATER_SCHEMA}_later.py").write_text(migration)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder)]
    _run(sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", *options, str(checkout))
    shutil.rmtree(checkout)
    [wheel] = folder.glob(f"observer-{LATER if is_later else VERSION}-*.whl")
    return wheel


def install(wheel: Path, folder: Path) -> Path:
    """A new environment with the wheel, and the other packages of ours by their path; returns its program."""
    venv.create(folder, with_pip=False)
    put(wheel, folder)
    [packages] = folder.glob("lib/python*/site-packages")
    # One line that is a path: the links to the checkout, which are lines of files there, are not followed.
    (packages / "others.pth").write_text(sysconfig.get_path("purelib"))
    return folder / "bin" / "observer"


def put(wheel: Path, folder: Path) -> None:
    """Install the wheel in the environment, also in the place of another version, as OPERATIONS.md prints it."""
    options = ["--disable-pip-version-check", "--quiet", "--python", str(folder / "bin" / "python")]
    _run(sys.executable, "-m", "pip", *options, "install", "--no-deps", "--force-reinstall", "--no-index", wheel)


def all_run(status: str) -> bool:
    """Whether every process runs, by what `observer status --json` printed; False where no system answered."""
    return bool(status) and all(each["state"] == "RUNNING" for each in json.loads(status)["processes"])


def names_in(wheel: Path) -> list[str]:
    """The paths of the wheel's files."""
    with zipfile.ZipFile(wheel) as packed:
        return packed.namelist()


def holds(wheel: Path, text: str) -> bool:
    """Whether any of the wheel's files has the text in it."""
    with zipfile.ZipFile(wheel) as packed:
        return any(text.encode() in packed.read(name) for name in packed.namelist())


def _run(*words: str | Path) -> None:
    ran = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, check=False, timeout=4 * DEADLINE_S
    )
    assert ran.returncode == 0, ran.stderr
