"""What makes a test depend on the machine's load or on other tests, seen by its syntax: a deadline of its own, a
duration that must be short, a port that may be another's a moment later, a plan in a database that other tests filled.
"""

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
FILES: Final = sorted(path for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__))
BENCHES: Final = tuple(
    f"bench/{path.name}" for path in (ROOT / "tests/bench").glob("*.py") if not path.name.startswith("test_")
)
# Programs beside the tests: each has patience of its own, and those that attack old checkouts import nothing of ours.
PROGRAMS: Final = (*BENCHES, "judges", "comparison", "fuzz", "chaos/attack", "chaos/hostile_broker", "waiting")
IMPATIENT_S: Final = 1.0  # a shorter wait is meant to end without what it waits for
CLOCKS: Final = ("monotonic", "monotonic_ns", "perf_counter", "process_time", "timeit.repeat", "clock.now_ns")

Rule = Callable[[ast.AST], Iterator[int]]


@cache
def parsed(source):
    return ast.parse(source)


def calls(tree):
    """Every call of a name or an attribute within it, with the last two parts of what is called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield called(node), node


def called(call):
    match call.func:
        case ast.Attribute(attr=name, value=ast.Name(id=of) | ast.Attribute(attr=of)):
            return f"{of}.{name}"
        case ast.Attribute(attr=name):
            return f".{name}"
        case ast.Name(id=name):
            return name
    return ""


def own_deadlines(tree):
    """Waits that end after a number of seconds of their own instead of `tests.waiting.DEADLINE_S`."""
    for name, call in calls(tree):
        bounds = [each.value for each in call.keywords if each.arg in ("timeout", "within_s")]
        if name.endswith((".wait_for", "asyncio.timeout")):
            bounds += call.args[-1:]
        elif name.endswith((".wait", ".join", ".settimeout")):
            bounds += call.args[:1]
        seconds = [each.value for each in bounds if isinstance(each, ast.Constant)]
        if any(isinstance(each, int | float) and each >= IMPATIENT_S for each in seconds):
            yield call.lineno


def is_reading(node, readings):
    """Whether it is a clock's reading, or made of one by arithmetic; `readings` are names of such."""
    match node:
        case ast.Name(id=name):
            return name in readings
        case ast.BinOp(left=left, right=right):
            return is_reading(left, readings) or is_reading(right, readings)
        case ast.Call(func=ast.Name(id="min" | "max" | "round"), args=arguments):
            return any(is_reading(each, readings) for each in arguments)
        case ast.Call():
            return called(node).endswith(CLOCKS)
    return False


def short_durations(tree):
    """Assertions that a clock's reading is below a number: true or false by the machine's load. Of a scaled clock it is
    a bound in market time.
    """
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        readings = set[str]()
        for node in ast.walk(function):
            if isinstance(node, ast.Assign) and is_reading(node.value, readings):
                readings |= {each.id for each in node.targets if isinstance(each, ast.Name)}
        for test in (node.test for node in ast.walk(function) if isinstance(node, ast.Assert)):
            for node in ast.walk(test):
                if isinstance(node, ast.Compare):
                    *smaller, largest = by_size(node)
                    if any(is_reading(each, readings) for each in smaller) and not is_reading(largest, readings):
                        yield node.lineno


def by_size(node):
    """The operands of a comparison, the largest one last; of one that is not by size only one."""
    operands = [node.left, *node.comparators]
    if isinstance(node.ops[0], ast.Gt | ast.GtE):
        return operands[::-1]
    return operands if isinstance(node.ops[0], ast.Lt | ast.LtE) else operands[:1]


def freed_ports(tree):
    """Blocks that take the number of a port out with them and close its socket: `tests.ports.own_port` keeps it."""
    for block in ast.walk(tree):
        last = block.body[-1] if isinstance(block, ast.With) else None
        if isinstance(last, ast.Return | ast.Assign) and any(name.endswith(".getsockname") for name, _ in calls(last)):
            yield last.lineno


def shared_plans(tree):
    """Tests that explain a query in the database that earlier tests filled: `own_database_url` is another."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef) and "database_url" in {each.arg for each in function.args.args}:
            texts = {str(each.value) for each in ast.walk(function) if isinstance(each, ast.Constant)}
            if any(name == "scans" for name, _ in calls(function)) or any("EXPLAIN" in text for text in texts):
                yield function.lineno


# Each rule with a text that is in every source that breaks it: only those are parsed and searched.
RULES: Final[Mapping[Rule, str]] = {
    own_deadlines: r"(timeout|within_s)=\s*\d|\.(wait|join|settimeout)\(\s*\d|wait_for|asyncio\.timeout",
    short_durations: "|".join(re.escape(clock) for clock in CLOCKS),
    freed_ports: "getsockname",
    shared_plans: "database_url",
}
BROKEN: Final = {
    own_deadlines: (
        "asyncio.run(asyncio.wait_for(scenario(), 60))",
        "process.wait(10)",
        "httpx.get(url, timeout=5)",
        "async def test():\n    async with asyncio.timeout(60):\n        pass",
    ),
    short_durations: (
        "def test():\n    assert found.clock.now_ns() < EVENING_NS + 1_800 * NS_PER_S",
        "def test():\n    began_s = time.monotonic()\n    took_s = time.monotonic() - began_s\n    assert 1 > took_s",
        "def test():\n    seconds = min(timeit.repeat(observe))\n    assert seconds / 10 < 20e-6",
    ),
    freed_ports: (
        "def free():\n    with socket.socket() as probe:\n        bind(probe)\n        return probe.getsockname()[1]",
        "with ExitStack() as held:\n    ports = [each.getsockname()[1] for each in sockets]",
    ),
    shared_plans: (
        "def test(database_url):\n    assert scans(connection, statement, tables, indexes) == set()",
        "def test(database_url):\n    query(database_url, f'EXPLAIN {statement}')",
    ),
}
SOUND: Final = (
    "await asyncio.wait_for(task, DEADLINE_S)",
    "client = httpx.AsyncClient(timeout=0.1)",
    "def test():\n    assert clock.now_ns() >= begun_ns",
    "def test():\n    before_ns = time.monotonic_ns()\n    assert before_ns < read() < time.monotonic_ns()",
    "with socket.socket() as held:\n    held.bind(ANY)\n    serve(held.getsockname()[1])",
    "def test(own_database_url):\n    assert scans(connection, statement, tables, indexes) == set()",
)


def broken_at(rule, source):
    """The lines of a source that break the rule."""
    return list(rule(parsed(source))) if re.search(RULES[rule], source) else []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_no_test_depends_on_the_load_or_on_other_tests(rule):
    files = {path.relative_to(ROOT / "tests").as_posix(): path for path in FILES}
    judged = {name: path for name, path in files.items() if not name.startswith(PROGRAMS)}
    assert [f"{name}:{line}" for name, path in judged.items() for line in broken_at(rule, path.read_text())] == []


@pytest.mark.parametrize(("rule", "code"), [(rule, code) for rule, codes in BROKEN.items() for code in codes])
def test_what_depends_on_them_is_found(rule, code):
    assert broken_at(rule, code)


@pytest.mark.parametrize("code", SOUND)
def test_what_does_not_is_not_found(code):
    assert [list(rule(ast.parse(code))) for rule in RULES] == [[]] * len(RULES)
