"""`[tape]` of the configuration."""

from typing import Annotated

import msgspec


class TapeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The tape: every trade of the day's lines, with calls that nothing else needs. Without the section it is off.

    `share_of_limit` is how much of the broker's limit it uses at most, in each account; 0: it is off. Half the limit
    cannot hold a day of 15 million trades before midnight (`python -m tests.bench tape`). `lines` are the venues whose
    lines it covers; empty: all. When a line wins a slot, its last `preroll_s` seconds are fetched before everything
    else.

    With `official_bars` the official minute bars of all these lines are fetched when the tape is done, and compared
    with the stored trades: only they show an error of the tape that the exchange's volumes do not, and they stand in
    for trades that could not be had. So they are on where the tape is.
    """

    share_of_limit: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.65
    lines: tuple[str, ...] = ()
    preroll_s: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 600.0
    official_bars: bool = True
