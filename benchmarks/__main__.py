"""`make bench`, or `python -m benchmarks`: the loader beside what else could do its work.

One loopback API, one PostgreSQL, everybody in the same run. `--quick` takes a tenth of the rows and
one run each, to see that everything works.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from benchmarks.api import World, serve
from benchmarks.bench import Bench
from benchmarks.figures import Report
from benchmarks.machine import about
from benchmarks.postgres import postgres
from benchmarks.process import Failed
from benchmarks.quality import quality


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows, one run each")
    parser.add_argument("--runs", type=_runs, default=3, help="runs of what the medians are taken of")
    parser.add_argument("--pg", type=Path, metavar="FOLDER", help="the programs of another PostgreSQL")
    parser.add_argument(
        "--dlt",
        action="store_true",
        default=os.environ.get("DLT", "") not in ("", "0"),
        help="measure dlt too, in an environment of its own (or DLT=1)",
    )
    parser.add_argument(
        "--quality", action="store_true", help="only the QARTOD tests, which need no server"
    )
    parser.add_argument("--save", type=Path, metavar="FILE", help="write the report as Markdown")
    args = parser.parse_args()
    if args.save and not args.save.parent.is_dir():
        parser.error(f"--save: there is no folder {args.save.parent}")
    if args.quality:
        report = Report([("load at the start", f"{os.getloadavg()[0]:.1f}")])
        quality(report, 1 if args.quick else args.runs)
        show(report, args.save)
        return
    world = World(rows=1000) if args.quick else World()
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        postgres(args.pg) as server,
        serve(world) as api,
    ):
        bench = Bench(Path(folder), api, server, runs=1 if args.quick else args.runs)
        bench.report.about += about(server)
        broken: Failed | None = None
        try:
            bench.everything()
            bench.say("QARTOD tests")
            quality(bench.report, bench.runs)
            if args.dlt:
                bench.dlt()
        except Failed as error:
            broken = error
    bench.report.about.append(
        ("took", f"{time.monotonic() - began:.0f} s, load {os.getloadavg()[0]:.1f} at the end")
    )
    show(bench.report, args.save)
    if broken is not None:
        raise broken


def show(report: Report, save: Path | None) -> None:
    text = report.markdown()
    print(text)
    if save:
        save.write_text(text, encoding="utf-8")


def _runs(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return int(text)


if __name__ == "__main__":
    try:
        main()
    except Failed as error:
        raise SystemExit(f"benchmark: {error}") from None
