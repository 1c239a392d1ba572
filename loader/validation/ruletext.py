"""The rules of a series in words, with their figures. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from math import isnan

from loader.quality.checks import CHECK_NAMES
from loader.quality.explain import duration
from loader.quality.rules import FLAG, Limits, Rule, Span
from loader.readings import HOUR, SECOND


def sentences(rule: Rule) -> Iterator[str]:  # noqa: PLR0912 - one for each check
    """What each check looks for, in the order of the checks; figures are in the unit of the series."""
    if rule.foreign:
        yield f"unit: expected is {' or '.join(rule.units)}"
    if rule.sentinels:
        yield f"sentinel: {', '.join(f'{code:g}' for code in rule.sentinels)} stand for no value"
    ranges = [(_span(rule.fail), "fail"), (_span(rule.suspect), "suspect")]
    if said := [f"outside {span} {level}" for span, level in ranges if span]:
        yield f"gross_range: {', '.join(said)}"
    if rule.spike is not None:
        off = "both neighbours" if rule.spike.differential else "the mean of the neighbours"
        yield f"spike: off {off} by more than {_limits(rule.spike.limits)}"
    if rule.rate is not None:
        yield f"rate: in an hour more than {_limits(rule.rate, HOUR / SECOND)}"
    if rule.flat is not None:
        flat = rule.flat
        times = [(flat.suspect, "suspect"), (flat.fail, "fail")]
        said = [f"{duration(micros)} {level}" for micros, level in times if micros]
        within = f" within {flat.tolerance:g}" if flat.tolerance else ""
        yield f"flat_line: still{within} for {', '.join(said)}"
    if rule.gap:
        yield f"gap: more than {duration(rule.gap)} since the reading before"
    if rule.attenuated is not None:
        what = "a standard deviation" if rule.attenuated.deviation else "a span"
        limits = _limits(rule.attenuated.limits)
        yield f"attenuated: in {duration(rule.attenuated.period)} {what} of less than {limits}"
    if rule.climatology is not None:
        yield "climatology: what is usual by month and hour of the day"
    if rule.precision is not None:
        yield f"precision: other decimals than in the {duration(rule.precision.period)} before"
    if rule.neighbours is not None:
        near = rule.neighbours
        yield (
            f"neighbours: more than {near.suspect:g} outside what {near.least} stations or more measured"
            f" within {near.within_km:g} km and {duration(near.apart)}"
        )
    if rule.cadence:
        yield f"a reading every {duration(rule.cadence)}"
    for check, policy in rule.policy.items():
        if policy != FLAG:
            yield f"{CHECK_NAMES[check]}: loading would {policy}"


def _span(span: Span) -> str:
    low, high = span
    if isnan(low):
        return "" if isnan(high) else f"up to {high:g}"
    return f"{low:g} and more" if isnan(high) else f"{low:g} to {high:g}"


def _limits(limits: Limits, scale: float = 1.0) -> str:
    pairs = [(limits.suspect, "suspect"), (limits.fail, "fail")]
    return ", ".join(f"{limit * scale:g} {level}" for limit, level in pairs if not isnan(limit))
