"""Settings of the venues whose lines the universe holds (`observer.base.lines`)."""

from collections.abc import Iterator, Sequence
from typing import Annotated

import msgspec

from observer.base.errors import did_you_mean
from observer.calendar.sessions import SessionRules
from observer.calendar.venues import KRX


class UniverseVenues(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The venues whose lines the universe holds, the broker's main venue first (the requirement knows that one alone).
    At each further venue it holds the lines of its stocks that trade there, which the broker is asked for each day;
    where it does not answer, what it last said counts for `eligibility_weekdays_max` weekdays.

    Raises:
        ValueError: no venue is named, or one is named twice.
    """

    venues: tuple[str, ...] = (KRX.name,)
    eligibility_weekdays_max: Annotated[int, msgspec.Meta(ge=1, le=100)] = 5

    def __post_init__(self) -> None:
        """Checks that each venue is named once."""
        if not self.venues or len(set(self.venues)) != len(self.venues):
            raise ValueError(f"venues: {list(self.venues)} must name the main venue first, and each venue once")

    @property
    def main(self) -> str:
        """The main venue: that of the symbols without a venue in their id."""
        return self.venues[0]

    @property
    def further(self) -> Sequence[str]:
        """The venues beside the main one."""
        return self.venues[1:]


def contradictions_of_venues(
    wanted: UniverseVenues, served: Sequence[str], rules: SessionRules, swept: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """What is wrong with the venues: each venue, and the text.

    Args:
        wanted: the venues of the universe.
        served: the broker's venues, the main one first.
        rules: the sessions of all venues, and the profiles.
        swept: the profiles and sessions that Track A collects.
    """
    for venue in wanted.venues:
        if venue not in served:
            yield venue, f"the broker does not serve this venue{did_you_mean(venue, served)}"
        elif not any(rule.venue == venue for rule in rules.session):
            yield venue, "run.sessions has no session of this venue"
        elif not _is_collected(venue, rules, swept):
            yield (
                venue,
                "track_a.sessions has no session of this venue: name a profile with this venue, or its sessions",
            )
    if wanted.venues[0] != served[0] and wanted.venues[0] in served:
        yield wanted.venues[0], f"the first venue is the broker's main one, {served[0]}"


def _is_collected(venue: str, rules: SessionRules, names: Sequence[str]) -> bool:
    profiles = {profile.name: profile.track_a.sessions for profile in rules.profile}
    collected = {session for name in names for session in profiles.get(name, (name,))}
    return any(rule.name in collected for rule in rules.session if rule.venue == venue)
