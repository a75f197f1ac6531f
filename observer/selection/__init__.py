"""Symbol selection: universe, indicators, triggers, slots. Pure."""
