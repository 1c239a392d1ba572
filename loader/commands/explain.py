"""`loader explain`: why a reading has its flag."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from loader.commands.onereading import in_unit, newest_flagged, parts, that_has, title
from loader.commands.options import moment, source_option
from loader.commands.output import Column, clean, document, iso, line, note, table
from loader.commands.selection import Selection, chosen_series, json_option
from loader.errors import UsageError

if TYPE_CHECKING:
    from loader.commands.context import Context
    from loader.contracts import Reports
    from loader.quality.checks import Checks
    from loader.readings import Readings
    from loader.records import StoredSeries


@click.command("explain")
@click.argument("reading", metavar="[READING]", required=False)
@source_option(multiple=False)
@click.option("--station", metavar="NAME", help="Only of this station.")
@click.option("--sensor", metavar="NAME", help="Only of this sensor.")
@click.option("--parameter", metavar="NAME", help="Only of this parameter.")
@click.option("--unit", metavar="UNIT", help="Only in this unit, however it is spelled.")
@click.option("--last", is_flag=True, help="The newest reading that is suspect or fails.")
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    reading: str | None,
    name: str | None,
    station: str | None,
    sensor: str | None,
    parameter: str | None,
    unit: str | None,
    last: bool,
    as_json: bool,
) -> None:
    """Say why a reading has its flag: for each check that objects, the values and thresholds.

    READING is SOURCE/SENSOR/PARAMETER@TIME, or only a TIME where the options name the series, or
    nothing with --last. Thresholds are those of today: where they give another flag than the stored
    one, that is said.
    """
    context: Context = ctx.obj
    if (reading is None) != last:
        raise UsageError(
            "say which reading: SOURCE/SENSOR/PARAMETER@TIME, or --last for the newest flagged"
        )
    text = reading or ""
    if "@" in text:
        if name or sensor or parameter:
            raise UsageError("name the series either in READING or by --source, --sensor and --parameter")
        name, sensor, parameter, text = parts(text)
    series = chosen_series(
        context, Selection(_tuple(name), _tuple(station), _tuple(parameter), _tuple(sensor))
    )
    if unit is not None:
        series = in_unit(series, unit)
    store = context.store()
    if last:
        one, time = newest_flagged(store, series)
    else:
        time = moment(text)
        one = that_has(store, series, time)
    found = _explained(context, store, one, time)
    if as_json:
        document(found.as_dict())
    else:
        _print(found)


def _tuple(name: str | None) -> tuple[str, ...]:
    return () if name is None else (name,)


@dataclass(frozen=True, slots=True)
class _Reason:
    """What one check says. `stored` and `today`: whether its bit is set, and would be now."""

    check: str
    flag: str
    text: str
    stored: bool
    today: bool


@dataclass(frozen=True, slots=True)
class _Explained:
    """A reading and what is known of its flag."""

    one: StoredSeries
    time: int
    value: float | None
    flag: int
    tests: int
    reasons: Sequence[_Reason]
    today: tuple[int, int] | None
    """Flag and tests by the thresholds of today; None where these are unknown."""

    @property
    def differs(self) -> bool:
        return self.today is not None and self.today != (self.flag, self.tests)

    def as_dict(self) -> dict[str, Any]:
        from loader.quality.checks import check_names

        s = self.one.series
        return {
            "source": self.one.source,
            "station": s.station,
            "sensor": s.sensor,
            "parameter": s.parameter,
            "unit": s.unit,
            "time": iso(self.time),
            "value": self.value
            if self.value is None or abs(self.value) < float("inf")
            else str(self.value),
            "flag": self.flag,
            "flag_name": _word(self.flag),
            "tests": check_names(self.tests),
            "reasons": [
                {"check": r.check, "flag": r.flag, "text": r.text, "stored": r.stored, "today": r.today}
                for r in self.reasons
            ],
            "today": None
            if self.today is None
            else {
                "flag": self.today[0],
                "flag_name": _word(self.today[0]),
                "tests": check_names(self.today[1]),
                "differs": self.differs,
            },
        }


def number_or_text(value: float) -> float | str:
    """JSON has no infinity."""
    return value if abs(value) < float("inf") else str(value)


def _explained(context: Context, store: Reports, one: StoredSeries, time: int) -> _Explained:
    """Judge the reading anew, with what is stored in its reach."""
    import numpy as np

    from loader.readings import Readings, Window
    from loader.recheck import begin, end

    check = checks(context, one.source)
    reach = check.reach(one.series)
    around = Window(begin(store, one, time, reach), end(store, one, time, reach))
    near = Readings.concat(list(store.scan([one.id], around)))
    near = Readings(np.zeros(len(near), np.int32), near.time, near.value, near.flag, near.tests)
    row = int(np.searchsorted(near.time, time))
    flag, tests = check([one.series], near, np.zeros(len(near), bool))
    value, before = float(near.value[row]), int(near.tests[row])
    return _Explained(
        one=one,
        time=time,
        value=None if np.isnan(value) else value,
        flag=int(near.flag[row]),
        tests=before,
        reasons=_reasons(check, one, near, row, before, int(tests[row]))
        + _near_stations(store, check, one, near, row),
        today=(int(flag[row]), int(tests[row])),
    )


def checks(context: Context, source: str) -> Checks:
    """The source's checks; of one that has left the configuration the general ones."""
    from loader import wiring
    from loader.quality.checks import Checks
    from loader.settings.quality import SourceQuality
    from loader.settings.rules import rule_of

    config = context.config()
    if source in config.sources:
        return wiring.build_check(config, source)
    return Checks(rule_of(config.quality, SourceQuality()))


def _reasons(
    check: Checks, one: StoredSeries, near: Readings, row: int, stored: int, today: int
) -> list[_Reason]:
    """A sentence for each bit that is set, or would be today, by bit; near stations apart."""
    from loader.quality.checks import CHECK_NAMES
    from loader.readings import Check

    said = {e.check: e for e in check.explain([one.series], near, row)}
    reasons = []
    for bit, name in CHECK_NAMES.items():
        had, has = bool(stored & bit), bool(today & bit)
        if (not had and not has) or bit == Check.NEIGHBOURS:
            continue
        if has and bit in said:
            flag, text = _word(int(said[bit].flag)), said[bit].text
        else:
            flag, text = "", "it objected when the reading was flagged; the thresholds of today do not"
        reasons.append(_Reason(name, flag, text, had, has))
    return reasons


def _near_stations(
    store: Reports, check: Checks, one: StoredSeries, near: Readings, row: int
) -> list[_Reason]:
    """What near stations measured at the time, where the reading is at odds with them, or was."""
    import numpy as np

    from loader.assess.near import told
    from loader.quality.checks import CHECK_NAMES
    from loader.readings import Check, Flag

    text = told(store, check, one, near.take(np.array([row])))
    had = bool(int(near.tests[row]) & Check.NEIGHBOURS)
    if text is None and not had:
        return []
    missing = "it was at odds with near stations; as they and the rule are now, it is not"
    return [
        _Reason(
            CHECK_NAMES[Check.NEIGHBOURS],
            _word(Flag.SUSPECT) if text else "",
            text or missing,
            had,
            text is not None,
        )
    ]


def _word(flag: int) -> str:
    from loader.readings import Flag
    from loader.recheck import NAMES

    return NAMES.get(Flag(flag), str(flag))


def _print(found: _Explained) -> None:
    s = found.one.series
    value = "no value" if found.value is None else f"{found.value:.10g} {s.unit}".rstrip()
    line(
        clean(f"{title(found.one)}@{iso(found.time)} of station {s.station}"),
        clean(f"value  {value}"),
        f"flag   {found.flag} {_word(found.flag)}",
    )
    if found.reasons:
        table(
            [Column("check"), Column("flag"), Column("why", prose=True)],
            [[r.check, _standing(r), r.text] for r in found.reasons],
        )
    elif found.flag == 9:
        line("no value was sent")
    elif found.flag == 2:
        line("no check says anything about it, or none can yet: its neighbours are still to come")
    else:
        line("no check objects")
    if found.differs:
        assert found.today is not None  # noqa: S101 - it differs
        flag = found.today[0]
        what = f"its flag is {flag} {_word(flag)}" if flag != found.flag else "other checks object"
        note(f"by the thresholds of today {what}; `loader recheck {found.one.source}` writes it")


def _standing(reason: _Reason) -> str:
    if not reason.today:
        return "no more"
    return reason.flag if reason.stored else f"{reason.flag}, new"
