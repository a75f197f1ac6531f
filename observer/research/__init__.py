"""What people import: DataFrames over the database and the sealed days. `observer.open_store` is its door."""
