"""A source that makes its readings up: for a first look, for demonstrations and for tests."""

from loader.sources.simulator.settings import Flaws, SimulatorSettings
from loader.sources.simulator.source import Simulator

__all__ = ["Flaws", "Simulator", "SimulatorSettings"]
