"""On what was measured."""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
from pathlib import Path

from benchmarks.postgres import Postgres
from benchmarks.process import ROOT


def about(server: Postgres) -> list[tuple[str, str]]:
    """Machine, versions and durability, as (name, value)."""
    settings = server.settings()
    version = settings.pop("server_version").split()[0]
    return [
        ("machine", f"{_processor()}, {os.cpu_count()} cores, {_memory()} GB, {platform.system()}"),
        ("load at the start", f"{os.getloadavg()[0]:.1f}"),
        ("commit", _commit()),
        ("Python", platform.python_version()),
        ("SQLite", f"{sqlite3.sqlite_version}: journal_mode WAL, synchronous FULL"),
        ("PostgreSQL", f"{version}: " + ", ".join(f"{k} {v}" for k, v in settings.items())),
    ]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "?")


def _memory() -> int:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)


def _commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "unknown"
