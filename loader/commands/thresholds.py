"""`loader thresholds`: rules learned from what is stored."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from loader.commands.output import clean, document, iso, line, note, number, plural
from loader.commands.selection import (
    Period,
    Selection,
    chosen_series,
    json_option,
    period_options,
    series_options,
)

if TYPE_CHECKING:
    from loader.commands.context import Context
    from loader.quality.suggest import Learned
    from loader.readings import Window
    from loader.records import StoredSeries


@click.group("thresholds")
def command() -> None:
    """Learn thresholds from stored readings."""


@command.command("suggest")
@series_options
@period_options
@click.option(
    "--by",
    type=click.Choice(["parameter", "station"]),
    default="parameter",
    show_default=True,
    help="One rule for each parameter and unit, or for those of each station.",
)
@click.option("--attenuated", is_flag=True, help="Also how much values have to move within a day.")
@click.option("--climatology", is_flag=True, help="Also what is usual by month and hour of the day (UTC).")
@json_option
@click.pass_context
def suggest(
    ctx: click.Context,
    asked: Selection,
    when: Period,
    by: str,
    attenuated: bool,
    climatology: bool,
    as_json: bool,
) -> None:
    """Learn thresholds from stored readings, and print them as YAML for the configuration.

    Only readings that are good or not evaluated count. The margins are wide: of the readings they
    were learned from, the rules flag 0.5 % at most, with --climatology 2.5 %.
    """
    context: Context = ctx.obj
    series = chosen_series(context, asked)
    found = [
        _learn(context, key, members, when.window, climatology=climatology, attenuated=attenuated)
        for key, members in sorted(_grouped(series, by).items())
    ]
    if as_json:
        document([_item(one) for one in found])
        return
    if not any(one.settings for one in found):
        note("nothing can be learned: too few usable readings fit what was asked for")
    source = asked.sources[0] if len(set(asked.sources)) == 1 and by == "parameter" else None
    line(*_yaml(found, source))


Key = tuple[str, str, str, str]
"""Source and station, "" where they are together; parameter; unit in its plain spelling."""


@dataclass(frozen=True, slots=True)
class _Found:
    """What was learned of a group of series; `unit` as the configuration or its series spell it."""

    key: Key
    unit: str
    learned: Learned | None

    @property
    def settings(self) -> Mapping[str, Any]:
        """As the configuration takes it; empty where nothing was learned."""
        from loader.quality.suggest import as_settings
        from loader.settings.durations import format_duration

        found = {} if self.learned is None else as_settings(self.learned)
        if "flat_line" in found:
            stands = found["flat_line"]
            stands |= {level: format_duration(stands[level]) for level in ("suspect", "fail")}
        if "attenuated" in found:
            found["attenuated"]["period"] = format_duration(found["attenuated"]["period"])
        return found


def _grouped(series: Sequence[StoredSeries], by: str) -> dict[Key, list[StoredSeries]]:
    from loader.readings import plain_unit

    groups: dict[Key, list[StoredSeries]] = {}
    for one in series:
        place = (one.source, one.series.station) if by == "station" else ("", "")
        groups.setdefault((*place, one.series.parameter, plain_unit(one.series.unit)), []).append(one)
    return groups


def _learn(
    context: Context, key: Key, members: Sequence[StoredSeries], window: Window, **more: bool
) -> _Found:
    """Learn from all of a group's readings, a chunk at a time."""
    import numpy as np

    from loader.commands.explain import checks
    from loader.quality.suggest import Learner
    from loader.readings import SECOND, plain_unit

    store, learner = context.store(), Learner(**more)
    rules = [checks(context, one.source).rule(one.series) for one in members]
    for one, rule in zip(members, rules, strict=True):
        cadence = rule.cadence or round((one.series.cadence_s or 0) * SECOND)
        for chunk in store.scan([one.id], window):
            learner.add(one.id, cadence, chunk)
    low = min(-np.inf if np.isnan(rule.fail[0]) else rule.fail[0] for rule in rules)
    high = max(np.inf if np.isnan(rule.fail[1]) else rule.fail[1] for rule in rules)
    # The configuration's own spelling, or the unit would be listed twice.
    spelled = [unit for rule in rules for unit in rule.units if plain_unit(unit) == key[3]]
    unit = spelled[0] if spelled else members[0].series.unit
    return _Found(key, unit, learner.learned((low, high)))


def _item(found: _Found) -> dict[str, Any]:
    learned = found.learned
    source, station, parameter, _ = found.key
    return {
        "source": source or None,
        "station": station or None,
        "parameter": parameter,
        "unit": found.unit,
        "series": 0 if learned is None else learned.series,
        "readings": 0 if learned is None else learned.readings,
        "first": None if learned is None else iso(learned.first),
        "last": None if learned is None else iso(learned.last),
        "beyond": {} if learned is None else dict(learned.beyond),
        "rule": dict(found.settings),
    }


def _yaml(found: Sequence[_Found], source: str | None) -> Iterator[str]:
    """The rules as the configuration takes them, each with what it was made of."""
    paths = {one.key: (*_path(one.key, source), one.key[2]) for one in found}
    told = {paths[one.key] for one in found if one.settings}
    for one in found:
        if paths[one.key] not in told:
            where = " ".join((*one.key[:3], one.unit)).strip()
            yield f"# {clean(where)}: {clean(_made_of(one))}"
    before: tuple[str, ...] = ()
    for one in sorted(found, key=lambda one: one.key):
        if paths[one.key] not in told:
            continue
        # The configuration has no name for no unit: then the rule is the parameter's own.
        path = paths[one.key] + (("units",) if one.unit else ())
        same = next((i for i, (a, b) in enumerate(zip(before, path, strict=False)) if a != b), len(before))
        yield from (f"{'  ' * depth}{_scalar(path[depth])}:" for depth in range(same, len(path)))
        before, indent = path, "  " * len(path)
        yield f"{indent}# {clean(_made_of(one))}"
        if one.unit:
            # Were it not listed, readings in this unit would be taken for strangers.
            yield f"{indent}{_scalar(one.unit)}:" + ("" if one.settings else " {}")
            indent += "  "
        yield from (f"{indent}{text}" for text in _rules(one.settings))


def _rules(settings: Mapping[str, Any]) -> Iterator[str]:
    for name, value in settings.items():
        if name == "climatology":
            yield f"{name}:"
            yield f"  utc_offset: {value['utc_offset']}"
            yield "  usual:"
            yield from (f"    - {_flow(usual)}" for usual in value["usual"])
        else:
            yield f"{name}: {_flow(value)}"


def _path(key: Key, source: str | None) -> tuple[str, ...]:
    """Where in the configuration the rules of a group belong."""
    if key[0]:
        return ("sources", key[0], "quality", "stations", key[1])
    return ("quality", "parameters") if source is None else ("sources", source, "quality", "parameters")


def _made_of(found: _Found) -> str:
    learned = found.learned
    if learned is None:
        return "too few usable readings"
    made = (
        f"{plural(learned.readings, 'readings')} of {learned.series} series, "
        f"{iso(learned.first)} to {iso(learned.last)}"
    )
    if not found.settings:
        return f"{made}: they hardly ever move"
    beyond = sum(learned.beyond.values())
    return f"{made}; {number(beyond)} of them would be flagged" if beyond else made


def _flow(value: Any) -> str:
    """YAML on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_flow(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return _scalar(value)


def _scalar(value: str | float) -> str:
    """Text is quoted where YAML could read something else; numbers have no exponent."""
    if isinstance(value, str):
        if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
            return value
        return json.dumps(value, ensure_ascii=not value.isprintable())
    return f"{Decimal(repr(value)):f}".removesuffix(".0")


_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_]*|(\d+[dhms])+")
_WORDS = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"}
