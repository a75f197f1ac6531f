"""What can be told about sectors: whether and when they are looked up by themselves, and of which markets."""

from typing import Annotated, Literal

import msgspec

from observer.reference.sectors import SOURCES, Region, SectorSourceName

Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
TimeOfDay = Annotated[str, msgspec.Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d$", description="Korean local time, HH:MM")]


class SectorSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sectors: the two jobs (requirement 003, "Production Deployment Guide"), none unless `scheduled`.

    They are off by default, as they ask Yahoo, which is nobody that the user has a contract with, and need
    observer[sectors]; with `sources` kis_code and finance_database alone nobody is asked. Every day stocks without a
    sector, or with one older than a month, are looked up; on one day of the week all.
    """

    scheduled: bool = False
    daily_at: TimeOfDay = "01:00"
    weekly_day: Weekday = "sunday"
    weekly_at: TimeOfDay = "02:00"
    regions: tuple[Region, ...] = ("US", "HK", "CN", "JP", "VN")
    sources: tuple[SectorSourceName, ...] = SOURCES
