"""A daemon neither grows nor gathers descriptors or threads, however long it runs."""

from __future__ import annotations

import pytest

from tests.acceptance.soak import soak


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_three_minutes_of_simulated_days_leave_it_as_it_was() -> None:
    """Both stores at once: every second an hour with late, revised and missing readings passes."""
    problems, told = soak(3)
    print(told)  # noqa: T201 - the figures, for whoever compares
    assert problems == []
