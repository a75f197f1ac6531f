"""The simulated market: instruments, trades, halts, history. No protocol."""
