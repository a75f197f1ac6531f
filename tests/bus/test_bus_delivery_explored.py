"""Every interleaving of small worlds with the real `Sender` and `Receiver`, and what that finds in a faulty end."""

from collections.abc import Mapping

import pytest

from bus.delivery import Receiver, Sender
from tests.bus import delivery_faults as faults
from tests.bus.delivery_explorer import Bounds, explore
from tests.bus.delivery_world import Ends
from tests.reach import Reach

LOSS: Bounds = {"appends": 1, "losses": 1, "writer restarts": 1, "put-backs": 1, "hellos": 1, "overtakings": 1}
DEATHS: Bounds = {"appends": 1, "losses": 1, "producer restarts": 1, "writer restarts": 1, "put-backs": 1}
DISORDER: Bounds = {"appends": 2, "hellos": 1, "overtakings": 1, "repeats": 1}
COMMITS: Bounds = {"appends": 2, "troubles": 1, "producer restarts": 1, "overtakings": 1}
DAMAGE: Bounds = {"appends": 2, "damages": 1, "power failures": 1, "put-backs": 1}
# For the long tier: more than a minute of processor time. The five spaces above have 41,556 states together.
LARGER = (
    LOSS | {"appends": 2},
    DEATHS | {"hellos": 1},
    DISORDER | {"losses": 1, "writer restarts": 1},
    COMMITS | {"writer restarts": 1},
    DAMAGE | {"losses": 1},
)

# The floor of the states, and what a space must reach. Today's numbers are above, or the test says what is lacking.
SPACES = {
    "a lost message, a dead writer, a database put back": (
        LOSS,
        {"states": 13_000, "commits in a later epoch": 700, "epochs begun with a group waiting": 10}
        | {"messages lost": 10_000, "acknowledgements of another epoch": 700, "streams taken back": 400}
        | {"writer restarts with a group waiting": 400, "hellos with a group waiting": 400},
    ),
    "both ends die": (
        DEATHS,
        {"states": 3_900, "producer restarts with events under way": 300, "streams archived": 500}
        | {"streams revived": 30, "commits in a later epoch": 100, "epochs begun": 150},
    ),
    "messages overtaken and repeated": (
        DISORDER,
        {"states": 7_000, "batches: ahead": 15, "batches: duplicate": 2_000, "batches with a known front": 100}
        | {"rewinds obeyed": 100, "messages repeated": 500},
    ),
    "commits refused, unanswered, or after another writer": (
        COMMITS,
        {"states": 9_000, "commits refused": 1_300, "commits unanswered": 1_300, "groups rolled back": 400},
    ),
    "lost segments and a lost tail": (
        DAMAGE,
        {"states": 7_500, "numbers stored as lost": 350, "groups that do not follow": 100, "streams revived": 10},
    ),
}


@pytest.mark.parametrize("space", SPACES)
def test_no_interleaving_breaks_the_promise(space):
    bounds, floors = SPACES[space]
    explored = explore(bounds)
    assert not explored.broken, explored
    Reach(explored.reach | {"states": explored.states}).judge(floors)


@pytest.mark.slow
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("bounds", LARGER, ids=str)
def test_no_interleaving_of_a_larger_world_breaks_the_promise(bounds):
    explored = explore(bounds)
    assert not explored.broken, explored
    assert explored.states > 20_000, explored


NOT_DELIVERED = "not delivered"
NEEDLESS_EPOCH = "falls of the database"
FAULTS: Mapping[type[Sender | Receiver], tuple[Bounds, str]] = {
    faults.NeverFallsBack: (LOSS, NOT_DELIVERED),
    faults.HelloOmitsTheArchive: (DEATHS, NOT_DELIVERED),
    faults.RewindAcknowledges: (LOSS, NEEDLESS_EPOCH),
    faults.OldAcknowledgementCounts: (LOSS, NEEDLESS_EPOCH),
    faults.FinishedBySent: (DEATHS, NEEDLESS_EPOCH),
    faults.EachWelcomeRewinds: (LOSS, "sent again though nothing was lost"),
    faults.RolledBackKeepsTheAdmitted: (COMMITS, NOT_DELIVERED),
    faults.NewEpochKeepsTheAdmitted: (LOSS, NOT_DELIVERED),
    faults.CommittedIsForgotten: (LOSS, NOT_DELIVERED),
    faults.SkipIgnored: (DISORDER, NOT_DELIVERED),
    faults.AheadTaken: (DISORDER, NEEDLESS_EPOCH),
    faults.OneAheadTaken: (DISORDER, "not each number once and in order"),
    faults.HelloOfAnOldEpochCounts: (LOSS, NEEDLESS_EPOCH),
    faults.HelloForgetsTheAdmitted: (LOSS, NOT_DELIVERED),
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_the_exploration_finds_a_fault_of_an_end_by_a_short_trace(fault):
    bounds, broken = FAULTS[fault]
    ends: Ends = (fault, Receiver) if issubclass(fault, Sender) else (Sender, fault)
    explored = explore(bounds, ends)
    assert broken in explored.broken, explored
    assert 1 <= len(explored.trace) <= 12, explored


def test_every_stated_fault_is_looked_for():
    stated = {each for each in vars(faults).values() if isinstance(each, type) and each.__module__ == faults.__name__}
    assert stated == set(FAULTS)
