"""Common parts of all worker processes."""
