"""What matters now: universe, indicators, triggers, slots. Pure."""
