"""A scheduled, incremental loader for sensor readings."""

__version__ = "0.1.0"
