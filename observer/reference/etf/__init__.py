"""ETFs and ETNs: their list, values and measures."""
