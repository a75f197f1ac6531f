"""Accounts: app keys, tokens, and the limits that processes share."""
