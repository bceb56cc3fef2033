"""A fuzz target for each parser of what strangers make: `python -m tests.fuzz`."""
