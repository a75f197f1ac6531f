"""One day's stream: stores trades and allocates slots. The body of `workers.track_b`."""
