"""Serve a world as a process of its own; the first line on stdout is the port.

    python -m tests.openaq_server --world made-up --seed 1 --faults hostile
    python -m tests.openaq_server --world toronto --shared ../shared
    python -m tests.openaq_server --bench --sensors 100 --rows 10000 --latency 0.05

Ends with its standard input where --until-eof is given, else at a signal.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path

from tests.openaq_server import KEY, BenchWorld, Faults, OpenAQServer, made_up, toronto


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.openaq_server", description=__doc__)
    parser.add_argument("--world", choices=("made-up", "toronto"), default="made-up")
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--stations", type=int, default=6)
    parser.add_argument("--days", type=float, default=10)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--key", default=KEY)
    parser.add_argument("--faults", choices=("none", "hostile"), default="none")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before every answer")
    parser.add_argument("--gzip", action=argparse.BooleanOptionalAction, default=None)
    parser.add_argument("--bench", action="store_true")
    parser.add_argument("--sensors", type=int, default=100, help="with --bench")
    parser.add_argument("--rows", type=int, default=10_000, help="with --bench: rows a sensor")
    parser.add_argument("--duplicates", type=float, default=0.05, help="with --bench")
    parser.add_argument(
        "--fresh", type=float, default=0.01, help="with --bench: shown at /_control/release"
    )
    parser.add_argument("--cadence", type=int, default=3600, help="with --bench: seconds")
    parser.add_argument("--until-eof", action="store_true")
    args = parser.parse_args()

    faults = Faults(args.seed)
    if args.faults == "hostile":
        faults.hostile()
    if args.latency:
        faults.add("latency", seconds=args.latency)
    bench = None
    if args.bench:
        bench = BenchWorld(
            args.sensors,
            args.rows,
            duplicates=args.duplicates,
            fresh=args.fresh,
            seed=args.seed,
            cadence_s=args.cadence,
        )
    if bench is not None:
        world = bench.world
    elif args.world == "toronto":
        world = toronto(args.shared)
    else:
        world = made_up(args.seed, args.stations, args.days)
    server = OpenAQServer(
        world,
        faults,
        keys=(args.key,),
        port=args.port,
        # Packing would cost the measured machine more than it saves on a loopback.
        gzip=(bench is None) if args.gzip is None else args.gzip,
        answers=bench.answers if bench else None,
    )
    done = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: done.set())
    with server:
        print(server.port, flush=True)  # noqa: T201
        if args.until_eof:
            sys.stdin.read()
        else:
            done.wait()


if __name__ == "__main__":
    main()
