"""The always-running process: supervisor, orders, captures, service manager."""
