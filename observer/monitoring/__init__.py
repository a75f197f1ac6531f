"""What is said of a running system: alerts and metrics."""
