"""How many examples a property searches, a share of what the profile says, and on what they depend."""

from hypothesis import settings
from hypothesis.internal.conjecture.providers import HypothesisProvider
from hypothesis.internal.constants_ast import Constants

# A cached property. A version that keeps the constants elsewhere is seen here, and not by floors of reach
# (tests/reach.py) that are missed in one order of the tests and not in another.
OF_LOADED_MODULES = vars(HypothesisProvider)["_local_constants"]


def draw_the_same_everywhere() -> None:
    """From now on properties draw no constants of whatever modules of ours are loaded: with them a property has other
    examples alone than among others. Hypothesis has no setting for it.
    """
    HypothesisProvider._local_constants = Constants()  # type: ignore[assignment,method-assign]


def examples(share: float) -> settings:
    """Settings for a property whose examples are dear: below 1, this share of the profile's number."""
    profile = settings()
    return settings(profile, max_examples=max(1, round(profile.max_examples * share)))
