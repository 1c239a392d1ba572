"""The image: who runs in it, what is in it, what is not."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from loader import __version__
from tests.image.engine import LABELS, ROOT, docker, image, missing, run, shell

pytestmark = [pytest.mark.slow, pytest.mark.skipif(missing() is not None, reason=str(missing()))]

ADDED_LIMIT = 120_000_000
"""Bytes on top of the base image; NumPy with its libraries takes half of them."""


@pytest.mark.timeout(900)
def test_it_builds_and_says_its_version() -> None:
    """From the checkout, with what the lock names and nothing else."""
    assert image()
    assert __version__ in run("--version")


def test_it_is_what_its_labels_and_settings_say() -> None:
    """A fixed user other than root, the loader as entry point, a health check, a volume, labels."""
    settings = json.loads(docker("inspect", "--format", "{{json .Config}}", image()))
    assert settings["User"] == "10001:10001"
    assert settings["Entrypoint"] == ["loader"]
    assert settings["Cmd"] == ["daemon"]
    assert settings["Healthcheck"]["Test"] == ["CMD", "loader", "health"]
    assert list(settings["Volumes"]) == ["/app/state"]
    assert list(settings["ExposedPorts"]) == ["8080/tcp"]
    for name, value in LABELS.items():
        assert settings["Labels"][f"org.opencontainers.image.{name.lower()}"] == value


def test_a_run_works_with_nothing_else_and_a_read_only_root() -> None:
    """No volume, no configuration, no key: the shipped configuration loads its demo source."""
    said = run("run")
    assert "demo" in said
    assert "Traceback" not in said


def test_every_module_has_its_bytecode() -> None:
    """Nobody could write any later; a start that had to compile would take twice as long."""
    script = """
import importlib.util, pathlib, sys, sysconfig
sources = [*pathlib.Path("/opt/venv/lib").rglob("*.py"),
           *pathlib.Path(sysconfig.get_path("stdlib"), "json").glob("*.py")]
assert len(sources) > 500, len(sources)
print([str(s) for s in sources if not pathlib.Path(importlib.util.cache_from_source(s)).exists()])
"""
    found = docker("run", "--rm", "--entrypoint=python", image(), "-c", script)
    # Templates that are not Python yet cannot be compiled, and are never imported.
    assert [s for s in json.loads(found.replace("'", '"')) if "template" not in s] == []


def test_nothing_that_installs_builds_or_tests_is_in_it() -> None:
    """Neither pip nor a build tool, no test, nothing of the checkout beside the package."""
    assert "none" in shell("command -v pip pip3 gcc hatchling pytest || echo none")
    for python in ("/opt/venv/bin/python", "$(command -v python3)"):
        for module in ("pip", "ensurepip", "hatchling", "pytest"):
            assert "No module named" in shell(f"{python} -c 'import {module}'", code=1)
    assert shell("find /opt/venv /app -name tests -o -name '.env' -o -name '*.lock'") == ""
    assert shell("ls -A /app") == "state\n"


def test_the_user_can_write_only_where_state_is_kept() -> None:
    """The package belongs to root."""
    assert shell("touch /app/state/x && touch /tmp/x && echo yes") == "yes\n"
    for folder in ("/app", "/opt/venv/lib", "/opt/venv/bin", "/etc"):
        assert "Permission denied" in shell(f"touch {folder}/x", code=1)


def test_what_it_adds_to_its_base_stays_small() -> None:
    """The layers of this project."""
    sizes = docker("history", "--human=false", "--format", "{{.Size}} {{.CreatedBy}}", image())
    lines = sizes.splitlines()
    first = next(n for n, line in enumerate(lines) if "compileall" in line)
    assert sum(int(line.split()[0]) for line in lines[: first + 1]) < ADDED_LIMIT


@pytest.mark.timeout(300)
def test_a_pip_configuration_can_be_handed_to_the_build(tmp_path: Path) -> None:
    """As a secret: an index where nobody answers has no package to offer."""
    file = tmp_path / "pip.conf"
    file.write_text("[global]\nindex-url = http://127.0.0.1:9/simple\nretries = 0\n")
    said = docker(
        *("build", "--no-cache", "--progress=plain", "--target=dependencies"),
        *("--secret", f"id=pip.conf,src={file}", str(ROOT)),
        code=None,
        timeout=280,
    )
    assert "from versions: none" in said


def test_hadolint_has_nothing_to_say() -> None:
    """The linter of Dockerfiles."""
    found = shutil.which("hadolint", path=Path(sys.executable).parent) or shutil.which("hadolint")
    if found is None:
        pytest.skip("no hadolint")
    done = subprocess.run([found, "Dockerfile"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
