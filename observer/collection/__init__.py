"""One day of the market data stream: stores trades and allocates slots. The body of `workers.track_b`."""
