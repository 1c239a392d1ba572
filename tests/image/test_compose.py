"""`docker compose up -d` as it stands: daemon and SQLite; locked in, stopped, killed, misconfigured."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from loader.contracts import DIED
from tests.image.engine import ROOT, docker, missing, until
from tests.image.stack import config, stack

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.skipif(missing() is not None, reason=str(missing())),
]

SETTLED = "SELECT (SELECT sum(new) FROM run) = (SELECT count(*) FROM reading)"


def test_up_alone_loads_the_demo_source_and_down_ends_it_cleanly(tmp_path: Path) -> None:
    """With the shipped configuration: healthy within 60 s, readings there; edited and reloaded they
    grow; told to stop it ends with 0 within its grace, and the readings stay on the volume."""
    with stack(tmp_path, (ROOT / "config.yaml").read_text("utf-8")) as made:
        made.compose("up", "--detach")
        made.until_healthy()
        assert made.ask("/livez")[0] == 200
        assert made.ask("/readyz")[0] == 200
        assert "loader_" in made.ask("/metrics")[1]
        until(lambda: made.rows("SELECT count(*) FROM reading") > [[3000]], "the demo source is loaded")

        made.config.write_text(config(), encoding="utf-8")
        made.compose("kill", "--signal=HUP", "loader")
        until(lambda: "configuration loaded" in made.logs(), "it has read the configuration again")
        (before,) = made.rows("SELECT count(*) FROM reading")
        until(lambda: made.rows("SELECT count(*) FROM reading") > [before], "readings grow")

        began = time.monotonic()
        made.compose("stop")
        assert time.monotonic() - began < 30
        assert made.inspect(".State.ExitCode") == 0
        made.compose("down")
        made.compose("up", "--detach")
        made.until_healthy()
        assert made.rows("SELECT count(*) FROM reading") >= [before]
        made.compose("down")
        assert "Traceback" not in made.compose("logs", code=None)


def test_it_is_locked_in(tmp_path: Path) -> None:
    """A read-only root, no capability, no new privileges, limits, rotated logs, a local port."""
    with stack(tmp_path, config()) as made:
        made.compose("up", "--detach")
        host = made.inspect(".HostConfig")
        assert host["ReadonlyRootfs"]
        assert host["Init"]
        assert host["Memory"] == 512 * 2**20
        assert host["NanoCpus"] == 10**9
        assert host["PidsLimit"] == 256
        assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "5"}}
        assert host["RestartPolicy"]["Name"] == "unless-stopped"
        assert [p["HostIp"] for p in host["PortBindings"]["8080/tcp"]] == ["127.0.0.1"]
        assert made.inspect(".Config.StopTimeout") == 45
        writable = {mount["Destination"]: mount["RW"] for mount in made.inspect(".Mounts")}
        assert writable == {"/app/state": True, "/app/config.yaml": False}
        made.until_healthy()

        def inside(script: str) -> str:
            return made.compose("exec", "-T", "loader", "sh", "-c", f"{script}; true")

        assert inside("id -u").strip() == "10001"
        assert "Read-only file system" in inside("touch /app/x")
        assert inside("touch /app/state/x && echo yes").strip() == "yes"
        status = dict(line.split(":\t", 1) for line in inside("cat /proc/1/status").splitlines())
        assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
        assert status["NoNewPrivs"] == "1"


def test_killed_in_the_middle_of_runs_it_comes_back_and_the_sums_are_right(tmp_path: Path) -> None:
    """Three times a crash while batches are being committed; nothing lost, nothing doubled."""
    slow = config(initial="1d", cadence="10s", latency="100ms")
    with stack(tmp_path, slow) as made:
        made.compose("up", "--detach")
        for crashes in range(1, 4):
            until(
                lambda seen=crashes: (
                    made.rows(
                        "SELECT count(*) FROM batch WHERE run_id = (SELECT max(id) FROM run) "
                        "AND (SELECT count(*) FROM run WHERE error IS NOT NULL) "
                        f">= {seen - 1}"
                    )
                    > [[0]]
                ),
                "a run has committed something",
            )
            made.crash()
            until(
                lambda seen=crashes: made.inspect(".RestartCount") >= seen, "the engine has started it anew"
            )
        made.until_healthy()
        until(
            lambda: made.rows("SELECT outcome FROM run ORDER BY id DESC LIMIT 1") == [["ok"]], "a whole run"
        )
        until(lambda: made.rows(SETTLED) == [[1]], "every row is counted once")
        assert made.rows(f"SELECT count(*) FROM run WHERE error = '{DIED}'") >= [[1]]
        made.compose("stop")
        assert made.inspect(".State.ExitCode") == 0


def test_a_bad_configuration_keeps_it_up_until_it_is_mended(tmp_path: Path) -> None:
    """Unhealthy, not restarted; the log and /readyz name file and line; mended it becomes healthy."""
    with stack(tmp_path, config(schedule="{every: soon}")) as made:
        made.compose("up", "--detach")
        until(lambda: "config.yaml:6:" in made.ask("/readyz")[1], "it says where")
        assert made.ask("/readyz")[0] == 503
        assert made.ask("/livez")[0] == 200
        assert "config.yaml:6:" in made.logs()
        until(lambda: made.health() == "unhealthy", "the health check says so", 90)
        assert made.inspect(".RestartCount") == 0
        made.config.write_text(config(), encoding="utf-8")
        made.compose("kill", "--signal=HUP", "loader")
        made.until_healthy()
        assert made.ask("/readyz")[0] == 200
        assert made.inspect(".RestartCount") == 0


def test_a_missing_configuration_is_told_at_once(tmp_path: Path) -> None:
    """Compose names the file instead of putting a folder in its place."""
    with stack(tmp_path, config()) as made:
        made.config.unlink()
        assert "config.yaml" in made.compose("up", "--detach", code=None)
        assert not made.config.exists()


def test_secrets_come_from_files_as_documented(tmp_path: Path) -> None:
    """The override that docs/deploy.md shows, word for word: the loader reads the file that it names,
    and what is secret is in no setting of the container."""
    page = (ROOT / "docs" / "deploy.md").read_text("utf-8")
    snippet = page.partition("<!-- secrets -->\n```yaml\n")[2].partition("```")[0]
    override = tmp_path / "docker-compose.override.yml"
    override.write_text(snippet, encoding="utf-8")
    (tmp_path / "secrets").mkdir(mode=0o700)
    for name in ("openaq_api_key", "postgres_password", "database_url"):
        (tmp_path / "secrets" / name).write_text("sqlite:///state/by-file.db\n")
    with stack(tmp_path, config()) as made:
        made.files.append(override)
        made.compose("up", "--detach")
        made.until_healthy()
        said = made.compose("exec", "-T", "loader", "loader", "status")
        assert "Traceback" not in said
        assert "by-file.db" in made.compose("exec", "-T", "loader", "ls", "state")
        assert "by-file" not in json.dumps(made.inspect(".Config"))


def test_the_compose_file_is_valid_with_every_profile() -> None:
    """As compose reads it, without .env."""
    docker("compose", "-f", str(ROOT / "docker-compose.yml"), "--profile", "*", "config", "--quiet")
