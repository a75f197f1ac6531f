"""Alerts: each condition is raised once, counted while it lasts, and resolved by the code that raised it."""
