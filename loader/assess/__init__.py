"""What is found out about stored readings after a run: the quality of each day, how often series
report, anomalies, drift. Nothing here changes a reading."""

from loader.assess.assessor import Assessor, Left, afterwards

__all__ = ["Assessor", "Left", "afterwards"]
