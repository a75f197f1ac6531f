"""Which sector every stock belongs to."""
