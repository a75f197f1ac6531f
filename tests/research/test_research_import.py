"""What `import observer` costs, and what it says where the extra is missing."""

import subprocess
import sys

import pytest

from observer.base.extras import install_command
from tests.research.stored import DAY, make_store


def ran(program, *words):
    found = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=True)
    return found.stdout.strip()


def test_importing_the_package_imports_none_of_the_libraries():
    heavy = ("polars", "duckdb", "pyarrow", "sqlalchemy", "msgspec")
    program = f"import sys, observer; print(*sorted({set(heavy)} & set(sys.modules)))"
    assert ran(program) == ""


def test_a_missing_library_is_one_line_with_its_remedy(tmp_path):
    program = (
        "import sys, observer\n"
        "sys.modules['duckdb'] = None\n"
        "try: observer.open_store(sys.argv[1]).sql('SELECT 1')\n"
        "except observer.MissingExtra as error: print(error)"
    )
    assert ran(program, make_store(tmp_path)) == f"duckdb is not installed: {install_command('research')}"


EACH_COMMAND = pytest.mark.parametrize(
    "words",
    [
        ("gaps",),
        ("bars", "005930", DAY),
        ("query", "SELECT count(*) FROM trades"),
        ("export", DAY, "--to", "exported"),
    ],
    ids=lambda words: words[0],
)


@EACH_COMMAND
def test_a_command_about_stored_data_does_not_import_pandas(words, tmp_path):
    """pandas takes as long as all else together, and pyarrow imports it at the first array that it makes of a list."""
    make_store(tmp_path)
    program = (
        "import sys, atexit\n"
        "from observer.cli.app import main\n"
        "atexit.register(lambda: print('pandas', 'pandas' in sys.modules))\n"
        "main()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, *words, "--config", "observer.toml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout.splitlines()[-1]) == (0, "pandas False"), ended.stderr
