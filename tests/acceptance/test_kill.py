"""Loaders killed anywhere, again and again, against a hostile server, end with exactly the right rows."""

from __future__ import annotations

import os

import pytest

from tests import postgres
from tests.acceptance.campaign import campaign

SEED = int(os.environ.get("CAMPAIGN_SEED", "7"))
KILLS = 40


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("store", ["sqlite", "postgres"])
def test_killed_anywhere_nothing_is_lost_or_doubled(store: str) -> None:
    """After 40 SIGKILLs and one quiet run the tables equal the server's truth, row for row."""
    if store == "postgres" and (reason := postgres.missing()):
        pytest.skip(reason)
    report = campaign(store, KILLS, SEED)
    print(report)  # noqa: T201 - the seed and the kills by phase, for whoever repeats it
    assert report.problems == []
    assert report.kills >= KILLS
