"""What we missed: finding holes in the stream, and planning how to fill them. Pure."""
