"""The rules of the loader itself: its memory, and the disk of its store."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from loader.alerts.situation import Finding
from loader.settings.alerting import Rules, format_size

BACK = 0.05
"""Memory, disk and sensors that fail are well again when they are back by this share of their limit:
they are looked at again and again, and would else be told of each time they cross it."""


@dataclass(frozen=True, slots=True)
class Machine:
    """The loader's own process: resident bytes, and the disk of the store. None is not known."""

    resident: int | None = None
    disk_free: int | None = None
    disk_total: int | None = None


def judge_machine(machine: Machine, rules: Rules, alerting: Collection[str]) -> list[Finding]:
    """Apply the rules about the loader itself. `alerting` names those that are broken already."""
    return [*_memory(machine, rules, alerting), *_disk(machine, rules, alerting)]


def _memory(machine: Machine, rules: Rules, alerting: Collection[str]) -> Iterator[Finding]:
    rule, used = rules.memory, machine.resident
    if not rule.enabled or used is None:
        return
    at = rule.at * (1 - BACK) if "memory" in alerting else rule.at
    if used > at:
        detail = f"the loader takes {used >> 20} MB, at most {format_size(rule.at)} is wanted"
        yield Finding("", "memory", "", rule.severity, True, value=float(used), detail=detail)


def _disk(machine: Machine, rules: Rules, alerting: Collection[str]) -> Iterator[Finding]:
    rule, free, total = rules.disk_free, machine.disk_free, machine.disk_total
    if not rule.enabled or free is None or not total:
        return
    at = rule.at * (1 + BACK) if "disk_free" in alerting else rule.at
    if free / total < at:
        detail = f"{free / total:.1%} of the store's disk is free ({free >> 20:,} MB)"
        yield Finding("", "disk_free", "", rule.severity, True, value=free / total, detail=detail)


def look_around(disk: Path | None) -> Machine:
    """What this process takes, and how full the disk is where the store lies (None: elsewhere)."""
    free = total = None
    if disk is not None:
        with suppress(OSError):
            usage = shutil.disk_usage(disk if disk.exists() else disk.parent)
            free, total = usage.free, usage.total
    return Machine(resident(), free, total)


def resident() -> int | None:
    """Bytes of memory that this process takes; None where the system does not say."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_bytes().split()[1])
        return pages * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return None
