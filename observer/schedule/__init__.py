"""When: trading days, the phases of a day, the jobs that are due. Pure."""
