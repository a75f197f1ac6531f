"""A broker to practise on. Never imports providers: an independent witness of the protocol."""
