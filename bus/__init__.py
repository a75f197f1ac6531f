"""How facts travel: events, their journal, their delivery and the three sockets. Knows nothing of markets or brokers."""
