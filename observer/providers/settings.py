"""What a provider's pipeline can be told; apart from it, so that reading a configuration loads no network library."""

from math import ceil
from typing import Annotated

import msgspec


class RestSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long to wait and how often to ask again. The timeout is machine time, the delays are market time."""

    timeout_s: float = 10.0
    attempts_max: int = 5
    delay_initial_s: float = 0.5
    delay_max_s: float = 8.0


class StreamLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long a stream may be silent, and how often it may ask its broker for anything. For each account.

    `silence_s` is machine time: no message of any kind, keep-alives included. `attempts_per_hour` is requirement 004's
    ("Constraints"): connections in an hour of market time; when they are used up there is one each
    `slow_beat_market_s`, and its share of them is kept free for that. `changes_per_minute` are registrations and
    removals in a minute of market time.

    Raises:
        ValueError: the slow beat alone would use up the attempts of an hour.
    """

    silence_s: Annotated[float, msgspec.Meta(gt=0)] = 90.0
    attempts_per_hour: Annotated[int, msgspec.Meta(ge=2)] = 60
    slow_beat_market_s: Annotated[float, msgspec.Meta(ge=60)] = 600.0
    changes_per_minute: Annotated[int, msgspec.Meta(ge=1)] = 120

    def __post_init__(self) -> None:
        """Checks the two rhythms of connecting against each other."""
        if not ceil(3600 / self.slow_beat_market_s) < self.attempts_per_hour:
            raise ValueError(
                f"attempts_per_hour: {self.attempts_per_hour} are no more than one each slow_beat_market_s "
                f"({self.slow_beat_market_s:g} s)"
            )
