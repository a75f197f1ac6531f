"""The order of the tests, the environment of all started processes, and the Hypothesis profiles.

Hypothesis has two profiles. `default` is that of every run: the same examples each time, on every machine and beside
whatever other tests, so a run passes or fails because of a change. `search` is that of `make properties`:
OBSERVER_TEST_EXAMPLES random examples, repeatable by the seed. Each failure it finds becomes an explicit example of its
property. No property has a deadline of its own: an example's duration depends on the machine's load.

`--shuffle SEED` takes the files in another order. In continuous integration (CI is set) a test is skipped only for what
`tests/skips.py` names.
"""

import asyncio
import gc
import inspect
import os
import random
import signal
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest
from hypothesis import settings

from observer.base import text
from observer.base.environment import forget_withheld
from observer.base.remedies import SEEN
from observer.supervisor.cgroup import Cgroup, cgroup_for
from observer.supervisor.mark import parse_mark
from observer.supervisor.proc import seen
from tests.properties import draw_the_same_everywhere
from tests.skips import is_allowed

if TYPE_CHECKING:
    from tests.archive.object_stores import S3Server

SYSTEM = "tests/whole/"

# With Python's 700 a seventh of the tests' own processor time is garbage collection.
GC_OBJECTS = 100_000

gc.disable()  # nothing that is collected here goes away: see `pytest_collection_finish`

# A shell without job control starts what is behind `&` with SIGINT ignored; each child of the tests would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# As many threads as processors in each of several processes wait for one another: more work than the frames are.
os.environ.setdefault("POLARS_MAX_THREADS", "1")

# Processes that import nothing from the folder where they start (`-P`) still find modules of the tests.
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
)

# Hundreds of processes start, here and below: without compiled files each would compile all our modules anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

settings.register_profile("default", deadline=None, derandomize=True, print_blob=True, max_examples=50)
settings.register_profile(
    "search",
    deadline=None,
    derandomize=False,
    print_blob=True,
    max_examples=int(os.environ.get("OBSERVER_TEST_EXAMPLES", "2000")),
)
settings.load_profile("default")  # --hypothesis-profile=search chooses the other, before the tests are collected


@pytest.fixture(autouse=True)
def _nothing_withheld() -> None:
    """Each test begins as a new process does: no key of an earlier one is known, and no damage was met."""
    forget_withheld()
    SEEN.take_damage()


@pytest.fixture(scope="session")
def server() -> Iterator["S3Server"]:
    """One object store for all tests of a process: its start takes longer than most of them. Each makes a bucket."""
    from tests.archive.object_stores import s3_server  # its libraries take a second, and few processes need them

    with s3_server() as running:
        yield running


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the files be taken in another order."""
    parser.addoption("--shuffle", type=int, metavar="SEED", help="take the files of tests in an order of this seed")


@pytest.hookimpl(trylast=True)  # Hypothesis's own has loaded the profile of the command line
def pytest_configure() -> None:
    """Where the same examples are wanted each time, they depend on nothing that is loaded."""
    if settings().derandomize:
        draw_the_same_everywhere()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Order whole-system tests first: they take longest, and one at a time disturbs other tests least. The tests of the
    shared day, which goes by meanwhile, come last. No test depends on the order of the files.
    """
    files = list(dict.fromkeys(item.path for item in items))
    if (seed := config.getoption("shuffle")) is not None:
        random.Random(seed).shuffle(files)
    numbers = {path: number for number, path in enumerate(files)}
    items.sort(key=lambda item: (_run_order(item), numbers[item.path]))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that is a coroutine in an event loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


def _run_order(item: pytest.Item) -> int:
    """0: a system of its own; 1: everything else; 2: needs the shared day."""
    if not item.nodeid.startswith(SYSTEM):
        return 1
    return 2 if isinstance(item, pytest.Function) and "day" in item.fixturenames else 0


def pytest_collection_finish() -> None:
    """Leave what was collected out of every later garbage collection: some 9,000 tests and all modules stay anyway."""
    gc.freeze()
    gc.set_threshold(GC_OBJECTS, 20, 20)
    gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In continuous integration a test that is skipped for no allowed reason fails."""
    return _judged((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """As `pytest_runtest_makereport`, of a whole file."""
    return _judged((yield))


_Report = TypeVar("_Report", pytest.TestReport, pytest.CollectReport)


def _judged(report: _Report) -> _Report:
    if "CI" in os.environ and report.skipped and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2]
        if not is_allowed(reason):
            report.outcome, report.longrepr = "failed", f"skipped in continuous integration: {reason}"
    return report


def pytest_runtest_setup() -> None:
    """Forget the secrets of other tests: they would be blanked out in this one's texts."""
    text._forms.clear()


def pytest_sessionfinish() -> None:
    """Remove the empty control groups of supervisors that a test killed: no next start in their folders does it."""
    probe = cgroup_for(f"probe.{os.getpid()}.0")
    if probe is None:
        return
    probe.remove()
    for path in probe.path.parent.glob("observer-*"):
        mark = parse_mark(path.name.removeprefix("observer-"))
        leader = seen(mark.leader.pid) if mark else None
        if mark is not None and (leader is None or leader.identity != mark.leader):
            Cgroup(path).remove()
