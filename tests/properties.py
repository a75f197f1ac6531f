"""How many examples a property searches: a share of what the profile says (tests/conftest.py)."""

from hypothesis import settings


def examples(share: float) -> settings:
    """Settings for a property whose examples are dear: below 1, this share of the profile's number."""
    profile = settings()
    return settings(profile, max_examples=max(1, round(profile.max_examples * share)))
