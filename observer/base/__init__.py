"""The vocabulary of the domain: clock, errors, files, logs, texts, units, settings of a file."""
