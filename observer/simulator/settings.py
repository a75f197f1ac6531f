"""The simulator's settings."""

import msgspec

from observer.simulator.faults import ScriptedDrop


class SimulatorSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One simulated broker on one simulated day.

    `session_date` is an ISO date; a port of 0 means any free one; `app_keys` are the accepted keys with their secrets;
    `data` is a folder of real master files (empty: made-up listings, `symbols` of them). The limits are KIS's own
    (real host: 20 calls a second, 41 registrations). `pingpong_interval_s` is in machine seconds, all else in market
    time. The market opens at `opens_at` (HH:MM; 10:00 on an exam day) and closes six and a half hours later. From
    `listing_appears_at` (HH:MM) on the KOSDAQ master file has one listing more; empty: it always has.
    """

    seed: int
    session_date: str
    app_keys: dict[str, str]
    symbols: int = 500
    data: str = ""
    rest_port: int = 0
    stream_port: int = 0
    files_port: int = 0
    rest_limit_per_s: int = 20
    registrations_limit: int = 41
    pingpong_interval_s: float = 10.0
    drops: tuple[ScriptedDrop, ...] = ()
    listing_appears_at: str = ""
    opens_at: str = "09:00"
