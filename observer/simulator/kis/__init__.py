"""The KIS protocol, stated a second time and independently of the client."""
