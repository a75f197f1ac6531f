"""Sealed days: Parquet files that any engine reads, their catalogue and their verification."""
