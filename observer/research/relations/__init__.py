"""The entries of the catalogue, a subject a file: `observer.research.catalogue` joins them."""
