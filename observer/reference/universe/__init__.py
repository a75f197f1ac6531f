"""The morning's work on the universe: bars fetched, the universe built, its file written."""
