"""A Docker engine and the image under test, built once for all tests in this folder."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMAND_S = 110
IMAGE = f"sensor-loader-test:{os.getpid()}"
LABELS = {"VERSION": "1.2.3", "REVISION": "abcdef0", "SOURCE": "https://example.org/sensor-loader"}


@cache
def missing() -> str | None:
    """Why nothing can be tried here; None where it can."""
    if shutil.which("docker") is None:
        return "no docker command"
    for words in (["version", "--format={{.Server.Version}}"], ["compose", "version"]):
        done = subprocess.run(["docker", *words], capture_output=True, text=True, timeout=30, check=False)
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
            return f"docker {' '.join(words)}: {said[-1]}"
    return None


def _environment() -> dict[str, str]:
    """Without what would win over a test's own .env."""
    ours = ("COMPOSE_", "LOADER_", "POSTGRES_", "DATABASE_", "OPENAQ_")
    return {k: v for k, v in os.environ.items() if not k.startswith(ours)} | {"DOCKER_BUILDKIT": "1"}


def docker(*words: str, code: int | None = 0, timeout: float = COMMAND_S) -> str:
    """What a docker command printed, stderr included; it must end with that code (None: any)."""
    done = subprocess.run(
        ["docker", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
        env=_environment(),
    )
    assert code in (None, done.returncode), f"docker {words}: exit {done.returncode}: {done.stdout}"
    return done.stdout


@cache
def image() -> str:
    """The name of the image of this checkout.

    PIP_CONFIG_FILE is handed to the build where this machine has one.
    """
    args = [part for name, value in LABELS.items() for part in ("--build-arg", f"{name}={value}")]
    if config := os.environ.get("PIP_CONFIG_FILE"):
        args += ["--secret", f"id=pip.conf,src={config}"]
    docker("build", "--tag", IMAGE, *args, str(ROOT), timeout=900)
    atexit.register(docker, "image", "rm", "--force", IMAGE, code=None)
    return IMAGE


def run(*words: str, code: int | None = 0) -> str:
    """What a container of the image printed that is thrown away afterwards."""
    return docker("run", "--rm", "--read-only", "--tmpfs=/tmp", image(), *words, code=code)


def shell(script: str, code: int | None = 0) -> str:
    """The same with a shell in place of the loader."""
    return docker("run", "--rm", "--entrypoint=sh", image(), "-c", script, code=code)


def until(condition: Callable[[], bool], what: str, seconds: float = 60) -> float:
    """Return when it holds, with the seconds it took; fail after so many."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > seconds:
            pytest.fail(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.3)
    return time.monotonic() - began
