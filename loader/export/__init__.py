"""Readings as text for other programs: CSV, NDJSON or JSON, long or wide, whatever their number.

Everything here is a stream that holds one stretch of one station at a time. Rows come by source,
station and time; within one time of one station by parameter, unit and sensor.
"""

from loader.export.cells import cell, numbers
from loader.export.document import export
from loader.export.order import ordered
from loader.export.style import Extra, Form, Layout, Style

__all__ = ["Extra", "Form", "Layout", "Style", "cell", "export", "numbers", "ordered"]
