"""The rules of the house that import-linter cannot see (CONTRIBUTING.md)."""

import ast
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ["bus", "observer", "workers"]
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

TOP_LEVEL = (
    {"bus", "observer", "workers", "migrations", "config", "docs", "tests", ".ci"}
    | {"pyproject.toml", "requirements.txt", "requirements-dev.txt", "Makefile", "supervisord.conf", ".gitignore"}
    | {"Containerfile", ".dockerignore"}
    | {"README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "OPERATIONS.md", "SECURITY.md", "LICENSE"}
)

# A function over 70 lines needs its reason here.
LONG_FUNCTIONS: dict[str, str] = {}


def relative(path):
    return path.relative_to(ROOT).as_posix()


@cache
def functions(path):
    return list(functions_in(ast.parse(path.read_text())))


def functions_in(node):
    """Every function below, of any block; expressions, which hold none, are not searched."""
    for block in ("body", "orelse", "handlers", "finalbody", "cases"):
        for each in getattr(node, block, ()) if not isinstance(node, ast.expr) else ():
            if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
                yield each
            yield from functions_in(each)


def test_the_top_level_matches_the_list_of_the_requirement():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {line.partition("/")[0] for line in tracked.splitlines()} == TOP_LEVEL


# The public API, `import observer`: its names are looked up at their first use.
DOOR = ROOT / "observer" / "__init__.py"


@pytest.mark.parametrize(
    "path", [path for path in SOURCES if path.name == "__init__.py" and path != DOOR], ids=relative
)
def test_a_package_holds_nothing_but_its_docstring(path):
    tree = ast.parse(path.read_text())
    assert len(tree.body) == 1
    assert ast.get_docstring(tree)


def test_no_function_has_more_than_70_lines_without_a_reason():
    long = {
        f"{relative(path)}:{function.name}"
        for path in SOURCES
        for function in functions(path)
        if (function.end_lineno or 0) - function.lineno + 1 > 70
    }
    assert long == set(LONG_FUNCTIONS)


def test_the_median_function_has_at_most_12_lines():
    lengths = sorted(
        (function.end_lineno or 0) - function.lineno + 1 for path in SOURCES for function in functions(path)
    )
    assert lengths[len(lengths) // 2] <= 12


def pure_modules():
    """The modules that the contract on pure code names, packages with all that is in them."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    [pure] = [contract for contract in contracts if contract["name"].startswith("Decisions and parsers")]
    modules: list[str] = []
    for name in pure["source_modules"]:
        folder = ROOT / name.replace(".", "/")
        inside = [f"{name}.{path.stem}" for path in sorted(folder.glob("*.py")) if path.stem != "__init__"]
        modules += inside if folder.is_dir() else [name]
    return modules


def test_pure_code_loads_no_socket_database_or_process_library():
    program = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]: importlib.import_module(name)\n"
        "print(*sorted({'zmq', 'httpx', 'websockets', 'sqlalchemy', 'psutil', 'aiohttp'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, *pure_modules()], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == ""


def test_the_lock_files_name_no_package_source():
    judges = sorted((ROOT / "tests/judges/requirements").glob("*.txt"))
    assert judges
    for path in (
        ROOT / "requirements.txt",
        ROOT / "requirements-dev.txt",
        ROOT / "tests/fuzz/requirements.txt",
        *judges,
    ):
        text = path.read_text()
        assert "://" not in text
        assert "--index-url" not in text
        assert all(line.startswith(("    --hash=sha256:", "#")) or "==" in line for line in text.splitlines() if line)


# A test waits for a condition with a deadline (tests/waiting.py). What else sleeps needs its reason here; a virtual
# clock's own `sleep` is none, and neither is sleep(0). A bench measures: events come at their times.
SLEEPERS = {
    "tests/waiting.py": "the one loop that looks again",
    "tests/brokers/hammer.py": "calls come at their times: the load is the test's subject",
    "tests/brokers/overloaded_demo.py": "a measurement: counters are read each second",
    "tests/chaos/actors.py": "events come at their times",
    "tests/chaos/push_pull.py": "events come at their times",
    "tests/chaos/campaign.py": "faults come at random times, and between them it is calm",
    "tests/chaos/soak.py": "samples are taken at intervals",
    "tests/chaos/soak_days.py": "samples are taken at intervals",
    "tests/chaos/gap_times.py": "rows are polled at intervals",
    "tests/brokers/test_providers_http.py": "a host sends a byte now and then",
    "tests/brokers/test_providers_kis_master_files.py": "a host sends a byte now and then",
    "tests/judges/judging.py": "trades come to a public client at their pace, not all at once",
    "tests/comparison/child.py": "a child that lives for a while",
    "tests/comparison/compare.py": "a storm lasts as long for one supervisor as for the others",
    "tests/collection/test_tape_streamed.py": "other processes publish at intervals",
}


def sleeps(path):
    """Lines that call time.sleep or asyncio.sleep, under any name, with anything but 0."""
    source = path.read_text()
    nodes = list(ast.walk(ast.parse(source if "sleep" in source else "")))
    imported = {
        name.asname or name.name
        for node in nodes
        if isinstance(node, ast.ImportFrom) and node.module in ("time", "asyncio")
        for name in node.names
        if name.name == "sleep"
    }
    return [
        node.lineno
        for node in nodes
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in {"time.sleep", "asyncio.sleep"} | imported
        and [ast.unparse(argument) for argument in node.args] != ["0"]
    ]


def test_no_test_sleeps_without_a_reason():
    benches = {path for path in (ROOT / "tests/bench").glob("*.py") if not path.name.startswith("test_")}
    sleeping = {relative(path) for path in {*(ROOT / "tests").rglob("*.py")} - benches if sleeps(path)}
    assert sleeping == set(SLEEPERS)


def test_nothing_waits_with_a_limit_that_can_lose_a_cancellation():
    """asyncio.wait_for of Python 3.11 loses a cancellation in the moment in which what it waits for is done;
    asyncio.timeout does not.
    """
    assert [relative(path) for path in SOURCES if "asyncio.wait_for(" in path.read_text()] == []
