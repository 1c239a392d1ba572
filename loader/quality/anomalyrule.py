"""When anomalies are worth a message: the rule, and where a series stands with it. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AlertRule:
    """When the anomalies of one series, found by one detector, are worth a message.

    rate         more than so many anomalies in one run, or
    persistence  so many runs with at least one,
    memory       among so many latest runs; without any in all of them, it is over
    A run that judged no reading of the series changes nothing and is not counted.
    """

    rate: int = 10
    persistence: int = 4
    memory: int = 24

    def __post_init__(self) -> None:
        if self.rate < 0 or not 1 <= self.persistence <= self.memory <= 62:
            raise ValueError(
                "alert rule: rate must not be negative; persistence from 1 to memory, memory at most 62"
            )


@dataclass(frozen=True, slots=True)
class AlertState:
    """Where a series stands after a run; the start is `AlertState()`. `latest` has a bit for each of
    the latest runs, 1 where it found an anomaly, the newest lowest: a number that can be stored."""

    alerting: bool = False
    latest: int = 0


def after_run(rule: AlertRule, state: AlertState, judged: int, anomalies: int) -> AlertState:
    """The state after a run that judged so many readings and found so many anomalies."""
    if judged <= 0:
        return state
    latest = (state.latest << 1 | (anomalies > 0)) & ((1 << rule.memory) - 1)
    if state.alerting:
        return AlertState(latest != 0, latest)
    return AlertState(anomalies > rule.rate or latest.bit_count() >= rule.persistence, latest)
