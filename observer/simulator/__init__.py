"""The simulated broker. Never imports providers: an independent implementation of the protocol."""
