"""Asks the Great Expectations package what it thinks of tables; run on its own, because it brings
along warnings, threads and seconds of imports.

Reads from stdin {"suite": ..., "tables": [path, ...]}. Prints a list with, for each table, one entry
for each expectation: {"type", "column", "success", "unexpected", "exception"}, where `unexpected` are
row numbers from 0, or null where the expectation is not about rows.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

os.environ["GX_ANALYTICS_ENABLED"] = "false"


def main() -> None:
    import great_expectations as gx
    import pandas as pd

    asked = json.load(sys.stdin)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    suite = context.suites.add(gx.ExpectationSuite(**asked["suite"]))
    source = context.data_sources.add_pandas("tables")
    answers: list[list[dict[str, Any]]] = []
    for path in asked["tables"]:
        frame = pd.read_csv(path, **asked["suite"]["meta"]["read_csv"])
        batch = source.add_dataframe_asset(path).add_batch_definition_whole_dataframe("all")
        got = batch.get_batch({"dataframe": frame}).validate(suite, result_format="COMPLETE")
        answers.append([answer(one) for one in got.results])
    json.dump(answers, sys.stdout)


def answer(one: Any) -> dict[str, Any]:
    rows = one.result.get("unexpected_index_list")
    problem = one.exception_info or {}
    return {
        "type": one.expectation_config.type,
        "column": one.expectation_config.kwargs.get("column"),
        "success": bool(one.success),
        "unexpected": None if rows is None else [int(row) for row in rows],
        "exception": problem.get("exception_message") if "raised_exception" in problem else str(problem),
    }


if __name__ == "__main__":
    main()
