"""Figures for Prometheus: what each process counts, the table of metrics, the exporter."""
