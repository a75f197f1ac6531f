"""Builders of facts about ETFs; what a test is about is given by name."""

import msgspec

from bus.events import EtfJobEnded, EtfListed, EtfMeasured, EtfNavDay, EtfRangeFound, EtfValued
from observer.reference.etf.model import Etf

SESSION = "2026-11-18"


def etf_listed(**changes: object) -> EtfListed:
    """KODEX 200 in its first list."""
    base = EtfListed(
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
        sources={"name": "master_files", "expense_ratio_percent": "csv"},
    )
    return msgspec.structs.replace(base, **changes)


def etf_valued(**changes: object) -> EtfValued:
    """Its value of that day."""
    base = EtfValued("kis", "069500", SESSION, 20, 50_000.0, 50_050.0, -0.1, 188_600_000.0, 9.43e12, 9.4e12, 0.35, 201)
    return msgspec.structs.replace(base, **changes)


def etf_nav_day(session_date: str = SESSION, **changes: object) -> EtfNavDay:
    """One of its days."""
    base = EtfNavDay("kis", "069500", session_date, 20, 50_000.0, 50_050.0, -0.1, 1_000.0, None)
    return msgspec.structs.replace(base, **changes)


def etf_measured(**changes: object) -> EtfMeasured:
    """Its measures."""
    base = EtfMeasured("069500", SESSION, 30, 60, 0.1, 0.2, None, None, 1.5, 1.6, None, None)
    return msgspec.structs.replace(base, **changes)


def etf_range_found(**changes: object) -> EtfRangeFound:
    """Its range of 52 weeks."""
    return msgspec.structs.replace(EtfRangeFound("069500", SESSION, 40, 250, 60_000.0, 40_000.0), **changes)


def etf_job_ended(**changes: object) -> EtfJobEnded:
    """A list that was taken."""
    return msgspec.structs.replace(
        EtfJobEnded("etf_list", SESSION, 5, 10, "master_files", 1_029, 1_029, 0, ""), **changes
    )


def etf(**changes: object) -> Etf:
    """KODEX 200 as the first list leaves it."""
    listed = etf_listed()
    fields = {name: getattr(listed, name) for name in Etf.__struct_fields__ if hasattr(listed, name)}
    return msgspec.structs.replace(Etf(**fields, active=True, first_seen_ns=10, first_seen_as="new"), **changes)
