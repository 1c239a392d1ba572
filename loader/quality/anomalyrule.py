"""When anomalies are worth a message: the rule, and where a series stands with it. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AlertRule:
    """When the anomalies of one series are worth a message.

    rate         more than so many anomalies in one run, or
    persistence  so many runs in a row with at least one, and
    clear        so many runs in a row without any, until it is over
    A run that judged no reading of the series changes nothing.
    """

    rate: int = 10
    persistence: int = 4
    clear: int = 3


@dataclass(frozen=True, slots=True)
class AlertState:
    """Where a series stands with a rule after a run; the start is `AlertState()`."""

    alerting: bool = False
    with_some: int = 0
    without: int = 0


def after_run(rule: AlertRule, state: AlertState, judged: int, anomalies: int) -> AlertState:
    """The state after a run that judged so many readings and found so many anomalies."""
    if judged <= 0:
        return state
    with_some = state.with_some + 1 if anomalies else 0
    without = 0 if anomalies else state.without + 1
    if state.alerting:
        return AlertState(without < rule.clear, with_some, without)
    return AlertState(anomalies > rule.rate or with_some >= rule.persistence, with_some, without)
