"""Thresholds that contradict each other once the rules of several blocks lie over each other. Each block
is checked on its own; a `suspect` beyond the `fail` of a wider rule would change nothing, in silence."""

from __future__ import annotations

from collections.abc import Iterator

from loader.settings.durations import format_duration
from loader.settings.quality import (
    SHIPPED,
    ParameterRule,
    QualitySettings,
    SourceQuality,
    UnitRule,
    laid,
    laid_over,
)

Path = tuple[str, ...]

TESTS = ("spike", "rate", "flat_line", "attenuated")


def contradictions(
    quality: QualitySettings, name: str, source: SourceQuality
) -> Iterator[tuple[Path, str]]:
    """Where in the configuration the rules of a source contradict wider ones, and how."""
    sets = quality.defaults if source.defaults is None else source.defaults
    shipped = {parameter: rule for one in sets for parameter, rule in SHIPPED[one].items()}
    general = laid(quality.parameters, shipped)
    own = laid(source.parameters, general)
    block = ("sources", name, "quality")
    yield from _of_layer(("quality", "parameters"), quality.parameters, general, shipped)
    yield from _of_layer((*block, "parameters"), source.parameters, own, general)
    for station, rules in source.stations.items():
        yield from _of_layer((*block, "stations", station), rules, laid(rules, own), own)


Rules = dict[str, ParameterRule]


def _of_layer(block: Path, given: Rules, laid_rules: Rules, wider: Rules) -> Iterator[tuple[Path, str]]:
    """What a layer's own words bring about; what was so before is told where it began."""
    for name, said in given.items():
        rule = laid_rules[name]
        before = set(_of_rule(wider[name])) if name in wider else set()
        found = [one for one in _of_rule(rule) if one not in before]
        for test in TESTS:
            of_units = [(path, text) for path, text in found if path[0] == "units" and path[-1] == test]
            named = [(path, text) for path, text in of_units if path[1] in said.units]
            # A figure for any unit may be meant for one of them: it is wrong if it fits none.
            if of_units and not named and len(of_units) == len(rule.units):
                (_, unit, _), text = of_units[0]
                named = [((test,), f"in {unit} {text}")]
            for path, text in [*named, *(one for one in found if one[0] == (test,))]:
                yield (*block, name, *path), text


def _of_rule(rule: ParameterRule) -> Iterator[tuple[Path, str]]:
    """The tests whose thresholds are the wrong way round, in any unit and in those that differ."""
    yield from _of_block((), rule)
    for unit, one in rule.units.items():
        yield from _of_block(("units", unit), laid_over(one, rule))


def _of_block(path: Path, rule: UnitRule) -> Iterator[tuple[Path, str]]:
    for test in TESTS:
        limits = getattr(rule, test)
        if limits is None or limits.suspect is None or limits.fail is None:
            continue
        turned = limits.suspect < limits.fail if test == "attenuated" else limits.suspect > limits.fail
        if turned:
            suspect, fail = (
                format_duration(t) if test == "flat_line" else f"{t:g}"
                for t in (limits.suspect, limits.fail)
            )
            text = f"has suspect {suspect} and fail {fail}, one of them of a wider rule; give both here"
            yield (*path, test), text
