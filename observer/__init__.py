"""The domain: what is collected, with whose keys, when, what exists, what matters now, what was missed, what is kept."""
