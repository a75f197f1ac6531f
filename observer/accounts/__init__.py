"""With whose keys: app keys, tokens, and the limits they share."""
