"""Only a broker's folders know the broker: no other source names it, its limits, codes, currency or zone."""

import io
import re
import tokenize
import tomllib
from pathlib import Path

import pytest

from observer.brokers.broker import BROKER_NAMES

ROOT = Path(__file__).parents[2]
OWN_FOLDERS = tuple(f"observer/{room}/{name}/" for name in BROKER_NAMES for room in ("brokers", "simulator"))
SOURCES = sorted(
    path
    for package in ("bus", "observer", "workers")
    for path in (ROOT / package).rglob("*.py")
    if not path.relative_to(ROOT).as_posix().startswith(OWN_FOLDERS)
)

# In all of the text, comments and docstrings included.
WORDS = re.compile(rf"(?<![A-Za-z])({'|'.join(BROKER_NAMES)}|005930|won|krw|kst|Asia/Seoul)(?![A-Za-z])", re.IGNORECASE)
# In code only: security groups as whole literals, and the slots of an account.
GROUPS = re.compile(r"""^[bB]?["'](EF|EN|EW|RT|SW|SR|BC|FE)["']$""")
SLOTS = re.compile(r"^41$")
# Where neither is in the text, none is in the code.
IN_CODE = re.compile(r"""["'](EF|EN|EW|RT|SW|SR|BC|FE)["']|\b41\b""")

# What a file may name, with the reason. A file that is not here may name nothing of it.
ALLOWED = {
    "observer/brokers/broker.py": (set(BROKER_NAMES), "the table of the brokers' folders"),
    "observer/base/local_time.py": ({"kst"}, "the name of a venue's zone, shown after a time"),
    "observer/calendar/venues.py": ({"krw", "asia/seoul"}, "data of a venue"),
    "observer/selection/settings.py": ({"41"}, "the requirement's defaults of max_slots and churn_max_replacements"),
    "observer/simulator/settings.py": ({"41"}, "the simulator's one broker so far: a default of its section"),
    "observer/cli/commands.py": ({"kis"}, "the name of the command that runs this broker's calls for research"),
    "observer/cli/kis.py": ({"kis"}, "runs this broker's table of calls for research"),
    "observer/cli/demo.py": ({"kis"}, "the simulator's one broker so far: symbols of its market"),
    "observer/cli/simulator.py": ({"kis"}, "the simulator's one broker so far: it starts that one"),
    "workers/simulator.py": ({"kis"}, "the simulator's one broker so far: it starts that one"),
    "observer/reference/listings/model.py": (
        {"ef", "fe", "en", "bc", "ew", "sw", "sr"},
        "the exchange's security groups: data of a venue, whichever broker lists them",
    ),
    "observer/simulator/market/instruments.py": ({"ef", "en", "rt"}, "the exchange's groups of made-up instruments"),
}


def named_in(path):
    """The words of a broker that a source names, in lower case."""
    text = path.read_text()
    words = {match[1].lower() for match in WORDS.finditer(text)}
    if not IN_CODE.search(text):
        return words
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    code = [token.string for token in tokens if token.type in (tokenize.STRING, tokenize.NUMBER)]
    groups = {found[1].lower() for each in code if (found := GROUPS.match(each))}
    slots = {each for each in code if SLOTS.match(each)}
    return words | groups | slots


def test_the_import_contract_keeps_each_broker_apart():
    """import-linter takes no list from the code."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    [apart] = [contract for contract in contracts if contract["name"].startswith("Brokers do not know each other")]
    assert {f"observer.brokers.{name}" for name in BROKER_NAMES} <= set(apart["modules"])


def relative(path):
    return path.relative_to(ROOT).as_posix()


def test_no_source_outside_its_folders_names_a_broker():
    found = {relative(path): named_in(path) - ALLOWED.get(relative(path), (set(), ""))[0] for path in SOURCES}
    assert {name: names for name, names in found.items() if names} == {}


@pytest.mark.parametrize("name", ALLOWED)
def test_every_allowed_name_of_a_broker_is_in_use(name):
    allowed, reason = ALLOWED[name]
    assert named_in(ROOT / name) == allowed
    assert reason
