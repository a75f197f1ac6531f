"""Trading days, the plan of a day, its phases and its jobs."""
