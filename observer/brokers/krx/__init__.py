"""The exchange's own public data pages."""
