"""Process supervision, independent of the product: it can supervise any program."""
