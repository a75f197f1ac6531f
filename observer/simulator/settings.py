"""The simulator's settings."""

from datetime import date
from typing import Annotated

import msgspec

from observer.simulator.faults import Amount, FaultRates, ScriptedDrop, ScriptedFault, ScriptedStop, second_of_day
from observer.simulator.market.plan import HISTORY_DAYS
from observer.simulator.market.sessions import Venue
from observer.simulator.market.tape import CONTINUOUS_S
from observer.simulator.market.venues import NXT_VALUE_RATIO


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

    The host: `paper` is the one for practice, which lacks some calls and admits one a second; `documented_labels` names
    the price of time-and-sales as the documents do, not as the live host.

    The wire: `trade_fields`, `book_fields` and `state_fields` are the widths of a record (46, 59 and 11 documented; 47,
    63 and 10 seen since September 2026); `frames_file` (empty: none) has captured frames, one JSON object with
    `raw` a line, that are sent unchanged to each subscriber of their TR id and key. `expected_prices`: the streams of
    trades also have the records of auctions, which are no trades (HOUR_CLS_CODE). `rest_limit_per_s` is an app key's
    (None: the real host's); `rest_limit_per_minute` is 0 without such a limit. `trades_times` multiplies how often
    every symbol trades: 1 is an ordinary day. Before the day lie `history_days` sessions. `venues`: the KRX alone,
    until its close; or the whole day of KRX and NXT, with the sessions that the venues have on `session_date`.
    `real_day_trades` asks for a day of real shape at the KRX with about so many trades (`market.real_day`; 0: for the
    ordinary small market, which other options of the market change); `symbols` are then shares and ETFs.

    `nxt_value_ratio` is NXT's value of the day for 1 of the KRX's stocks; a third of it is outside the regular session.
    `market_stops` stop both venues: no symbol is dealt in for some minutes between the opening and the closing auction,
    or for the rest of the day.

    Raises:
        ValueError: a date or a time of day is none, the KRX is missing among the venues, or a stop reaches beyond the
            continuous trading or into another one, or a day of real shape has an option that it lacks; names the key.
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
    paper: bool = False
    documented_labels: bool = False
    trade_fields: Annotated[int, msgspec.Meta(ge=46)] = 47
    book_fields: Annotated[int, msgspec.Meta(ge=59)] = 63
    state_fields: Annotated[int, msgspec.Meta(ge=10, le=11)] = 10
    frames_file: str = ""
    expected_prices: bool = True
    rest_limit_per_minute: Annotated[int, msgspec.Meta(ge=0)] = 0
    trades_times: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    history_days: Annotated[int, msgspec.Meta(ge=1)] = HISTORY_DAYS
    venues: tuple[Venue, ...] = ("KRX",)
    nxt_value_ratio: Annotated[float, msgspec.Meta(gt=0, le=1)] = NXT_VALUE_RATIO
    market_stops: tuple[ScriptedStop, ...] = ()
    real_day_trades: Annotated[int, msgspec.Meta(ge=0)] = 0
    session_timeout_s: Amount = 0.0
    send_buffer_limit_bytes: Annotated[int, msgspec.Meta(gt=0)] = 16 * 1024 * 1024

    def __post_init__(self) -> None:
        """Checks the venues, the date and the times of day."""
        try:
            date.fromisoformat(self.session_date)
        except ValueError as error:
            raise ValueError(f"session_date: {self.session_date!r} is not a date such as 2026-11-18") from error
        if "KRX" not in self.venues:
            raise ValueError(f"venues: {list(self.venues)}: write KRX, or KRX and NXT")
        if self.real_day_trades and (
            self.venues != ("KRX",) or self.market_stops or self.trades_times != 1 or self.data
        ):
            text = "a day of real shape has the KRX alone, no market_stops, no trades_times and no data"
            raise ValueError(f"real_day_trades: {text}")
        times = [("opens_at", self.opens_at), ("listing_appears_at", self.listing_appears_at or "00:00")]
        scripts = (("faults", self.faults), ("drops", self.drops))
        times += [(key, each.at) for key, script in scripts for each in script]
        times += [("market_stops", each.at) for each in self.market_stops]
        for key, time in times:
            _require_time(key, time)
        earliest_s = second_of_day(self.opens_at)
        latest_s = earliest_s + CONTINUOUS_S
        for start_s, end_s in sorted(each.seconds for each in self.market_stops):
            if not earliest_s < start_s < end_s < latest_s:
                text = "each begins after the opening and the stop before it, and ends before the closing auction"
                raise ValueError(f"market_stops: {text}")
            earliest_s = end_s


def _require_time(key: str, text: str) -> None:
    try:
        second_of_day(text)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from error
