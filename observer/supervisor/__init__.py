"""Who runs: a supervisor of processes that knows nothing of our product and could supervise anything."""
