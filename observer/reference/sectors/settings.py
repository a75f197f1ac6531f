"""Settings of the sector jobs: whether and when they run, and for which markets."""

import msgspec

from observer.reference.sectors.model import SOURCES, Region, SectorSourceName
from observer.reference.times import TimeOfDay, Weekday


class SectorSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sectors: the two jobs, none unless `scheduled`.

    Off by default: the jobs query Yahoo, with which the user has no contract, and need the extra `sectors`. With
    the sources sector_code and finance_database alone they query no network service. The daily job looks up stocks
    without a sector, or with one older than a month; the weekly job looks up all.
    """

    scheduled: bool = False
    daily_at: TimeOfDay = "01:00"
    weekly_day: Weekday = "sunday"
    weekly_at: TimeOfDay = "02:00"
    regions: tuple[Region, ...] = ("US", "HK", "CN", "JP", "VN")
    sources: tuple[SectorSourceName, ...] = SOURCES
