"""Korea Investment & Securities (KIS) Open API."""
