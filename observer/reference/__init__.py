"""What exists: listings and how they change. Pure."""
