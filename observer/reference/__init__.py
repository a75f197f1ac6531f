"""What exists: listings, ETFs, sectors, the universe of a day."""
