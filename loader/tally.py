"""What a run adds up to, and how that is to be judged."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from loader.contracts import Usage
from loader.records import Counts, Outcome, RunReport


@dataclass(slots=True)
class Tally:
    """What the run adds up to so far. `failed` says what went wrong by partition or station; of the
    partitions in `lost` more than the try of an old hole failed; those in `stopped` a rule has
    stopped. `kept_out` counts the records of a replay that rules kept out."""

    counts: Counts = field(default_factory=Counts)
    used: Usage = field(default_factory=Usage)
    seq: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)
    stopped: set[str] = field(default_factory=set)
    kept_out: int = 0
    ended: set[str] = field(default_factory=set)

    def judged(self, report: RunReport, down: str | None, *, stopping: bool, all_lost: bool) -> RunReport:
        """The report with how the run ended. `down` says why the source was given up; `all_lost`
        that not one partition is well.
        """
        good = len(self.ended - self.failed.keys())
        error = down or next(iter(self.failed.values()), None)
        if stopping:
            outcome = Outcome.INTERRUPTED
        elif not self.failed and down is None:
            outcome = Outcome.OK
        elif (down is not None or all_lost) and good == 0 and self.counts.fetched == 0 and not self.stopped:
            outcome = Outcome.FAILED
        else:
            outcome = Outcome.PARTIAL
        return replace(
            report, outcome=outcome, error=error, partitions_ok=good, partitions_failed=len(self.failed)
        )
