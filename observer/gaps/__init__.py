"""Finds gaps in the stream and plans how to fill them. Pure."""
