"""The page and the HTTP API of a running system and of its stored days."""
