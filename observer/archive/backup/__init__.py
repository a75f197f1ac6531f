"""Packages: what it takes to put a system's data back, checked, in a folder of its own."""
