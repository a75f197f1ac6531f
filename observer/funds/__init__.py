"""Funds: their list, values, measures and ranges, collected day by day. Decisions are `observer.reference.etf*`."""
