"""What `import observer` costs, and what it says where the extra is missing."""

import subprocess
import sys

from observer.base.extras import install_command
from tests.research.stored import make_store


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
