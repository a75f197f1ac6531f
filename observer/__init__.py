"""The domain: what is collected, with whose keys, when, what exists, what matters, what is kept."""
