"""Builders of facts about funds; what a test is about is given by name."""

import msgspec

from bus.events import FundJobEnded, FundListed, FundMeasured, FundNavDay, FundRangeFound, FundValued
from observer.reference.etf import Fund

SESSION = "2026-11-18"


def fund_listed(**changes: object) -> FundListed:
    """KODEX 200 in its first list."""
    base = FundListed(
        session_date=SESSION,
        listed_ns=10,
        symbol="069500",
        change="new",
        name="KODEX 200",
        group="EF",
        isin="KR7069500007",
        full_name=None,
        english_name=None,
        issuer=None,
        index_name="코스피 200",
        index_provider=None,
        region=None,
        asset_class=None,
        replication=None,
        tax_type=None,
        leverage=1.0,
        expense_ratio_percent=0.15,
        listed_shares=188_600_000.0,
        creation_unit_shares=None,
        listed_on="2002-10-14",
        changed_fields="",
        sources="name=kis_master,expense_ratio_percent=csv",
    )
    return msgspec.structs.replace(base, **changes)


def fund_valued(**changes: object) -> FundValued:
    """Its value of that day."""
    base = FundValued("kis", "069500", SESSION, 20, 50_000.0, 50_050.0, -0.1, 188_600_000.0, 9.43e12, 9.4e12, 0.35, 201)
    return msgspec.structs.replace(base, **changes)


def fund_nav_day(session_date: str = SESSION, **changes: object) -> FundNavDay:
    """One of its days."""
    base = FundNavDay("kis", "069500", session_date, 20, 50_000.0, 50_050.0, -0.1, 1_000.0, None)
    return msgspec.structs.replace(base, **changes)


def fund_measured(**changes: object) -> FundMeasured:
    """Its measures."""
    base = FundMeasured("069500", SESSION, 30, 60, 0.1, 0.2, None, None, 1.5, 1.6, None, None)
    return msgspec.structs.replace(base, **changes)


def fund_range_found(**changes: object) -> FundRangeFound:
    """Its range of 52 weeks."""
    return msgspec.structs.replace(FundRangeFound("069500", SESSION, 40, 250, 60_000.0, 40_000.0), **changes)


def fund_job_ended(**changes: object) -> FundJobEnded:
    """A list that was taken."""
    return msgspec.structs.replace(
        FundJobEnded("fund_list", SESSION, 5, 10, "kis_master", 1_029, 1_029, 0, ""), **changes
    )


def fund(**changes: object) -> Fund:
    """KODEX 200 as the first list leaves it."""
    listed = fund_listed()
    fields = {name: getattr(listed, name) for name in Fund.__struct_fields__ if hasattr(listed, name)}
    return msgspec.structs.replace(Fund(**fields, active=True, first_seen_ns=10), **changes)
