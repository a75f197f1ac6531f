"""Settings of Track A and Track B."""

from typing import Annotated, Final

import msgspec

from observer.brokers.broker import RecordKind
from observer.brokers.quarantine import DAY_BYTES_MAX
from observer.selection.sampling import SamplingSettings
from observer.selection.settings import SelectionSettings
from observer.selection.triggers import Share

EVALUATION_S_MAX: Final = 300.0
"""Market seconds between evaluations at most: the tape takes a Track B without one for twice as long for dead."""


class TrackASettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Track A: how often the universe is swept, in market seconds, and how many weekdays
    old a universe may be that stands in for the day's own. The longest closures of the exchange have seven weekdays.
    `sessions` are the profiles and sessions in which it is swept (`calendar.sessions`).

    Between two sweeps Track A asks the symbols again that may soon surge (`observer.selection.attention`), with at most
    `attention_share_of_limit` of the calls a second; 0: it does not. It needs the pace of a universe with at least 20
    symbols, or the profiles of earlier days, and the size of trades, which the day's first streamed trades show.
    """

    sessions: tuple[str, ...] = ("requirement",)
    interval_s: Annotated[float, msgspec.Meta(ge=1)] = 600.0
    attention_share_of_limit: Share = 0.25
    universe_weekdays_max: Annotated[int, msgspec.Meta(ge=1, le=100)] = 7


class TrackBSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Track B, in market seconds: the interval of trade-rate and expiry checks, at most EVALUATION_S_MAX, and how long
    an account's connection may be down before its symbols move to other accounts. `records` are the streamed record
    kinds of each symbol: each kind is one subscription, so two of them halve the number of symbols. `sessions` are the
    profiles and sessions in which slots stream (`calendar.sessions`). With lines of several venues, a pause of a venue
    up to `keep_over_pause_s` ends no slot: its lines keep what no other line outranks. A longer one releases the slots
    of its lines while another venue is open; 0: each pause does. A day's inputs that cannot be read are kept up to
    `quarantine_bytes_max`; more of them are only counted. `watch_markets`: subscriptions that no slot uses stream the
    market state of one line of each market, which shows a stop of all of it; fillers leave slots free for them.

    Raises:
        ValueError: the evaluations are too far apart; trades are not among the records, or one is named twice.
    """

    sessions: tuple[str, ...] = ("requirement",)
    records: tuple[RecordKind, ...] = ("trades",)
    evaluation_s: Annotated[float, msgspec.Meta(ge=1)] = 10.0
    failover_after_s: Annotated[float, msgspec.Meta(ge=0)] = 60.0
    keep_over_pause_s: Annotated[float, msgspec.Meta(ge=0)] = 900.0
    quarantine_bytes_max: Annotated[int, msgspec.Meta(ge=0)] = DAY_BYTES_MAX
    watch_markets: bool = True
    sampling: SamplingSettings = SamplingSettings()

    def __post_init__(self) -> None:
        """Checks the interval, and the record kinds: slots stream trades."""
        if self.evaluation_s > EVALUATION_S_MAX:
            raise ValueError(
                f"evaluation_s: {self.evaluation_s} must be at most {EVALUATION_S_MAX}: "
                f"after {2 * EVALUATION_S_MAX:.0f} s without an evaluation the tape takes Track B for dead"
            )
        if "trades" not in self.records or len(set(self.records)) != len(self.records):
            raise ValueError(f"records: {list(self.records)} must name each kind once, and trades among them")


class StreamingSettings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings of a day of Track B. `track_a` are the settings of the sweeps that Track B evaluates."""

    selection: SelectionSettings = SelectionSettings()
    track_b: TrackBSettings = TrackBSettings()
    track_a: TrackASettings = TrackASettings()
