"""What is kept: the database. The only folder with SQL."""
