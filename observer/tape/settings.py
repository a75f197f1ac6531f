"""`[tape]` of the configuration."""

from typing import Annotated

import msgspec


class TapeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The tape: every trade of the day's lines, with calls that nothing else needs. Without the section it is off.

    `share_of_limit` is how much of the broker's limit it uses at most, in each account; 0: it is off. Half the limit
    cannot hold a day of 15 million trades before midnight (`observer bench tape`). `lines` are the venues whose lines
    it covers; empty: all. When a line wins a slot, its last `preroll_s` seconds are fetched before everything else.
    """

    share_of_limit: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.65
    lines: tuple[str, ...] = ()
    preroll_s: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 600.0
