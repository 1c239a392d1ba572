"""Calls the program as the console command does, and the two series that the tests load."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from builders import Loading, at, hole, partition, series, span
from stores import AnyStore, StoreCase

from loader.__main__ import main
from loader.readings import Progress, Reject

PM25 = series("a", partition="p-a", station="Here", cadence_s=3600.0, timezone="America/Toronto")
NO2 = series("b", partition="p-b", station="There", parameter="no2", unit="ppb", cadence_s=3600.0)


@dataclass(frozen=True)
class Kept:
    """A store of some kind with one run in it, which the configuration names."""

    case: StoreCase
    address: str
    store: AnyStore

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """One SELECT behind the store's back."""
        return self.case.query(self.address, sql)


class Shell:
    """Calls the program in this process, as the console command does."""

    def __init__(
        self, folder: Path, capture: pytest.CaptureFixture[bytes], patch: pytest.MonkeyPatch
    ) -> None:
        self.folder = folder
        self._capture = capture
        self._patch = patch
        self.err = ""

    def __call__(self, *arguments: str, code: int = 0) -> str:
        """Its stdout; stderr is kept in `err`."""
        self._capture.readouterr()
        self._patch.setattr(sys, "argv", ["loader", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = (text.decode() for text in self._capture.readouterr())
        self.err = err
        assert end.value.code == code, f"{arguments}: exit {end.value.code}: {out}{err}"
        assert "Traceback" not in err
        return out

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "--json"))


def configure(folder: Path, store: str) -> None:
    """Write a config.yaml with the sources that the tests speak of."""
    (folder / "config.yaml").write_text(
        f"store: {store}\n"
        "sources:\n"
        "  src: {type: simulator, lookback: {min: 1h, max: 2h}}\n"
        "  idle: {type: simulator, enabled: false}\n"
    )


def fill(store: AnyStore) -> None:
    """One run of `src`: hours 1 to 10 of Here without 4 and 7, where a hole is; 1 to 3 of There."""
    loading = Loading(store)
    store.register(loading.lease, [partition(PM25), partition(NO2)], at(0))
    hours = [h for h in range(1, 11) if h not in (4, 7)]
    loading.commit(
        [*((PM25, h, float(h)) for h in hours), *((NO2, h, -1.0) for h in (1, 2, 3))],
        Progress(
            "p-a", cover=(span(0, 6), span(7, 10)), holes=(hole(6, 7, next_try=None),), watermark=at(10)
        ),
        Progress("p-b", cover=(span(0, 3),), watermark=at(3), ended=True, error="HTTP 500"),
        places=[(PM25, 0, 43.5, -79.25)],
        rejects=[
            Reject("p-a", "timestamp", "no time in it", b'{"value": 1}'),
            Reject("p-b", "schema", "not \x1b[31mJSON", b"\xff\x00"),
        ],
    )
    loading.finish(quality=97.5)
    loading.lease.release()
