"""Seen from a terminal."""
