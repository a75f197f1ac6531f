"""Brokers and other outside sources. Only this folder uses brokers' field names."""
