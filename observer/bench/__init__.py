"""How fast, and how large: measurements of the real classes in real processes, each beside its bare limit."""
