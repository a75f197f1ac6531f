"""The OpenAPI document is true to what the data part of the HTTP API does: schemathesis asks a server on loopback.

It is used without its plugin for pytest, and loaded by the tests that need it: its import takes a second.
"""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import tomli_w
from hypothesis import HealthCheck, Phase, given, settings

from observer.research.catalogue import RELATIONS
from tests.research.stored import DAY, make_store
from tests.waiting import DEADLINE_S
from tests.web.data_app import data_app, served

KNOWN = {"symbol": "005930", "day": DAY}
ROUTES = len(RELATIONS)
EXAMPLES = 2
DOCUMENT = "/api/schema/openapi.json"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with served(data_app(make_store(tmp_path_factory.mktemp("schema")))) as address:
        yield address


@pytest.fixture(scope="module")
def schema(address):
    import schemathesis

    return schemathesis.openapi.from_url(f"{address}{DOCUMENT}")


def statuses(schema, *, is_allowed):
    """Asks each route with made-up parameters, wrong ones or allowed ones, and checks each answer in all ways. Allowed
    ones name what is stored, so that there are rows to check.
    """
    from schemathesis import GenerationMode

    mode = GenerationMode.POSITIVE if is_allowed else GenerationMode.NEGATIVE
    found: Counter[int] = Counter()
    for operation in schema.get_all_operations():

        @given(case=operation.ok().as_strategy(generation_mode=mode))
        @settings(
            max_examples=EXAMPLES,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def check(case):
            if is_allowed:
                for place in (case.path_parameters, case.query):
                    for name in set(place or {}) & set(KNOWN):
                        place[name] = "069500" if "etf" in case.path and name == "symbol" else KNOWN[name]
                for name in ("cursor", "end", "exchange", "known_at"):
                    (case.query or {}).pop(name, None)
                if "daily" in case.path or "etf_premium" in case.path:
                    case.query |= {"day": "2026-01-01", "end": DAY}
            found[case.call_and_validate().status_code] += 1

        check()
    return found


def test_answers_to_allowed_questions_are_as_documented(schema):
    found = statuses(schema, is_allowed=True)
    assert set(found) <= {200, 404, 406}
    assert found[200] >= 2 * ROUTES // 3, "of some relations the small store has nothing"


def test_wrong_questions_are_refused_as_documented(schema):
    found = statuses(schema, is_allowed=False)
    assert set(found) <= {400, 404, 405, 406}
    assert found[400] >= ROUTES


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("names_what_is_stored", [False, True])
def test_all_checks_hold_for_thousands_of_questions(address, tmp_path, names_what_is_stored):
    if names_what_is_stored:
        stored = {"query.symbol": KNOWN["symbol"], "query.day": DAY}
        (tmp_path / "schemathesis.toml").write_text(tomli_w.dumps({"parameters": stored}))
    program = Path(sys.executable).with_name("schemathesis")
    asked = [program, "run", f"{address}{DOCUMENT}", "--checks", "all", "--max-examples", "150", "--seed", "1"]
    ran = subprocess.run(
        [*asked, "--continue-on-failure", "--generation-database", "none"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=8 * DEADLINE_S,
    )
    assert ran.returncode == 0, ran.stdout
