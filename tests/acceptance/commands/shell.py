"""Calls the program as the console command does, and the two series that the tests load."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from builders import series

from loader.__main__ import main

PM25 = series("a", partition="p-a", station="Here", cadence_s=3600.0, timezone="America/Toronto")
NO2 = series("b", partition="p-b", station="There", parameter="no2", unit="ppb", cadence_s=3600.0)


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
