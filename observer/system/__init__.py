"""A system of processes: its configuration, its host, its workers, its doctor."""
