"""The simulator's settings."""

from datetime import date
from typing import Annotated

import msgspec

from observer.simulator.faults import Amount, FaultRates, ScriptedDrop, ScriptedFault, second_of_day
from observer.simulator.market.plan import HISTORY_DAYS


class SimulatorSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One simulated broker on one simulated day.

    `session_date` is an ISO date; a port of 0 means any free one; `app_keys` are the accepted keys with their secrets;
    `data` is a folder of real master files (empty: `symbols` made-up listings beside the well-known ones). The limits
    are the real host's. `pingpong_interval_s` is in machine seconds, all else in market time. The market opens at
    `opens_at` (HH:MM; 10:00 on an exam day) and closes six and a half hours later. From `listing_appears_at` (HH:MM) on
    the KOSDAQ master file has one listing more; empty: it always has.

    Faults: `drops` and `faults` by script, `fault_rates` at random, all of it a function of the seed. After a
    connection that ended without a close frame its app key stays in use for `session_timeout_s`; a client that does not
    read is cut once more than `send_buffer_limit_bytes` wait for it.

    The wire: `trade_fields` and `book_fields` are the widths of a record (46 and 59 documented; 47 and 62 seen in
    2026); `frames_file` (empty: none) has captured frames, one JSON object with `raw` a line, that are sent unchanged
    to each subscriber of their TR id and key. `rest_limit_per_s` is an app key's (None: the real host's);
    `rest_limit_per_minute` is 0 without such a limit. `trades_times` multiplies how often every symbol trades: 1 is an
    ordinary day. Before the day lie `history_days` sessions.

    Raises:
        ValueError: a date or a time of day is none; names the key.
    """

    seed: int
    session_date: str
    app_keys: dict[str, str]
    symbols: int = 500
    data: str = ""
    rest_port: int = 0
    stream_port: int = 0
    files_port: int = 0
    rest_limit_per_s: Annotated[int, msgspec.Meta(gt=0)] | None = None
    registrations_limit: int = 41
    pingpong_interval_s: float = 10.0
    drops: tuple[ScriptedDrop, ...] = ()
    listing_appears_at: str = ""
    opens_at: str = "09:00"
    faults: tuple[ScriptedFault, ...] = ()
    fault_rates: FaultRates = FaultRates()
    trade_fields: Annotated[int, msgspec.Meta(ge=46)] = 47
    book_fields: Annotated[int, msgspec.Meta(ge=59)] = 62
    frames_file: str = ""
    rest_limit_per_minute: Annotated[int, msgspec.Meta(ge=0)] = 0
    trades_times: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    history_days: Annotated[int, msgspec.Meta(ge=1)] = HISTORY_DAYS
    session_timeout_s: Amount = 0.0
    send_buffer_limit_bytes: Annotated[int, msgspec.Meta(gt=0)] = 16 * 1024 * 1024

    def __post_init__(self) -> None:
        """Checks the date and the times of day."""
        try:
            date.fromisoformat(self.session_date)
        except ValueError as error:
            raise ValueError(f"session_date: {self.session_date!r} is not a date such as 2026-11-18") from error
        times = [("opens_at", self.opens_at), ("listing_appears_at", self.listing_appears_at or "00:00")]
        scripts = (("faults", self.faults), ("drops", self.drops))
        times += [(key, each.at) for key, script in scripts for each in script]
        for key, time in times:
            _require_time(key, time)


def _require_time(key: str, text: str) -> None:
    try:
        second_of_day(text)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from error
