"""How facts travel: events, their journal, their delivery and the three sockets. Knows no market and no broker."""
