"""Official bars of past days: which are missing, their fetch, and their comparison with the stored trades."""
