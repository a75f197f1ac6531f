"""Transport of events: journal, delivery and sockets. Independent of markets and brokers."""
