"""Whatever is asked of the loader, in whatever order, while the server does what it likes: in the end
the tables equal the truth."""

from __future__ import annotations

import os
import time
from pathlib import Path
from random import Random

import pytest

from loader.errors import LoaderError
from loader.readings import Window
from loader.records import Outcome
from tests.acceptance.openaq_run import STORES, Rig, loading
from tests.openaq_server import DAY, HOUR, MINUTE, SECOND, Faults, World, made_up, micros
from tests.openaq_server.render import SPOILS

END = micros("2025-11-08T00:00:00Z")
DAYS = 12
SEEDS = [int(s) for s in os.environ.get("ORDERS_SEEDS", "1 2 3 4").split()]


class Running(World):
    """A clock that goes on from wherever it is set: what has to be waited for comes."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.locations, self.sensors = world.locations, world.sensors
        self._set, self._since = END, time.monotonic()

    @property
    def now(self) -> int:
        return self._set + round((time.monotonic() - self._since) * SECOND)

    @now.setter
    def now(self, value: int) -> None:
        self._set, self._since = value, time.monotonic()


class Story:
    """Random orders to one loader, on a world that ends at END."""

    def __init__(self, rig: Rig, dice: Random) -> None:
        self.rig, self.dice = rig, dice
        self.told: list[str] = []
        rig.now = END - 4 * DAY

    def step(self) -> None:
        """Time passes, a switch may be turned, and something is asked for."""
        dice, rig = self.dice, self.rig
        rig.now += dice.choice([0, MINUTE, 20 * MINUTE, HOUR, HOUR, 3 * HOUR, 7 * HOUR, 26 * HOUR])
        self._turn_switches()
        past = Window(end := rig.now - dice.randrange(6 * DAY), end)
        past = Window(past.start - dice.randrange(HOUR, 6 * DAY), past.end)
        station = str(dice.choice(sorted(rig.world.locations)))
        name, order = dice.choice(
            [
                ("run", {}),
                ("run", {}),
                ("run", {}),
                ("run of a station", {"stations": (station,)}),
                ("holes", {"retry_holes": True}),
                ("again", {"window": past}),
                ("again", {"window": past, "stations": (station,)}),
                ("backfill", {"window": past, "backfill": True}),
                ("dry run", {"dry_run": True}),
                ("reset", {}),
            ]
        )
        if name == "reset":
            return self._reset()
        try:
            outcome = str(rig.run(**order).outcome)
        except LoaderError as error:
            outcome = repr(error)
        self.told.append(f"{rig.now}: {name} {order}: {outcome}")
        rig.check_sums()
        return None

    def _reset(self) -> None:
        """The watermark of one partition is set back, or taken away."""
        marks = {name: mark for name, mark in self.rig.watermarks().items() if mark is not None}
        if not marks:
            return
        partition = self.dice.choice(sorted(marks))
        back = self.dice.choice([None, marks[partition] - self.dice.randrange(8 * DAY)])
        lease = self.rig.store.acquire("openaq")
        self.rig.store.reset(lease, partition, back)
        lease.release()
        self.told.append(f"{self.rig.now}: reset {partition} to {back}")

    def _turn_switches(self) -> None:
        dice, faults = self.dice, self.rig.faults
        mood = dice.random()
        if mood < 0.15:
            faults.clear()
            self.told.append("quiet")
        elif mood < 0.35:
            sensor = dice.choice(sorted(self.rig.world.sensors))
            start = self.rig.now - dice.randrange(5 * DAY)
            end = start + dice.randrange(HOUR // 2, 12 * HOUR)
            faults.poison(sensor, start, end)
            self.told.append(f"poison {sensor} {start} {end}")
        elif mood < 0.45:
            faults.hostile(0.5)
            self.told.append("hostile")
        elif mood < 0.55:
            sensor = dice.choice(sorted(self.rig.world.sensors))
            kind = dice.choice(["rubbish", "html", "500", "reset", "408", "truncated"])
            faults.add(kind, route="measurements", sensor=sensor, times=dice.choice([4, 40, None]))
            self.told.append(f"{kind} {sensor}")
        elif mood < 0.6:
            faults.add("down", how=dice.choice(["close", "503"]), after=dice.randrange(20), times=30)
            self.told.append("down")


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("store", STORES)
def test_any_orders_on_any_days_end_in_the_truth(tmp_path: Path, store: str, seed: int) -> None:
    """Runs, backfills, stretches read again, resets and dry runs, amid faults that come and go."""
    dice = Random(f"{seed}/orders")
    world = Running(made_up(seed, stations=4, days=DAYS, end=END))
    for sensor in dice.sample(sorted(world.sensors), 3):
        steady = [t for t in world.sensors[sensor].times if t not in world.sensors[sensor].changes]
        world.spoil(sensor, dice.choice(steady), dice.choice([s for s in SPOILS if "record" not in s]))
    settings = {"initial": f"{DAYS + 5}d", "tries": 2, "holes": {"pause": "10m", "max_pause": "2h"}}
    with loading(tmp_path, world, Faults(seed), store=store, **settings) as rig:
        story = Story(rig, dice)
        for _ in range(40):
            story.step()
        rig.faults.clear()
        rig.now = max(rig.now, world.settled) + 7 * HOUR
        rig.run(retry_holes=True)
        rig.now += 7 * HOUR
        last = rig.run(retry_holes=True)
        print(f"seed {seed}", *story.told, sep="\n")  # noqa: T201 - shown where it fails
        assert last.outcome is Outcome.OK
        assert last.counts.new == last.counts.revised == 0
        rig.check_books()
