"""A whole day against the simulated broker: its configuration, its display, its summary."""
