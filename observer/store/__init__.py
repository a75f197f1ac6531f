"""The database. The only folder with SQL."""
