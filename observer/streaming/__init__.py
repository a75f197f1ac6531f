"""What is streamed on one day: the trades that are kept, and who has a place. The body of `workers.track_b`."""
