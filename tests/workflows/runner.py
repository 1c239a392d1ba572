"""Carries out a workflow's job as GitHub's runner does: each job in a fresh checkout, `run:` steps by bash,
the actions that the workflows use by what they do to files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.workflows.expressions import condition, fill

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = ROOT / ".github" / "workflows"
KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV_DISABLE_PROMPT")
"""Variables of this process that a step sees; those of pip come along, for machines behind a mirror."""
LIMIT_S = 300.0
"""For one step: the first one that installs everything takes a while on a busy machine."""


def workflow(name: str) -> dict[str, Any]:
    """A workflow as parsed; its `on` is the key True, as YAML 1.1 has it."""
    parsed: dict[str, Any] = yaml.safe_load((WORKFLOWS / name).read_text(encoding="utf-8"))
    return parsed


@dataclass
class GitHub:
    """What outlives a job: caches, artifacts, the folder that a runner image brings along."""

    folder: Path
    temp: Path
    """The runner's; it outlives the job here, so that not every job installs everything anew."""
    url: str
    """Of the API."""
    secrets: Mapping[str, str] = field(default_factory=dict)
    broken_cache: bool = False
    """Restoring misses whatever there is, as it does when the cache cannot be reached."""
    jobs: int = 0
    caches: dict[str, Path] = field(default_factory=dict)
    """Saved folders by their key, the oldest first."""


@dataclass
class Job:
    """One execution of a workflow's only job."""

    github: GitHub
    workspace: Path
    contexts: dict[str, Any]
    steps: dict[str, str] = field(default_factory=dict)
    """Outcome by the step's name: success, failure, skipped."""
    output: dict[str, str] = field(default_factory=dict)
    """What a step printed, by its name."""
    summary: str = ""

    @property
    def conclusion(self) -> str:
        return "failure" if "failure" in self.steps.values() else "success"

    @property
    def printed(self) -> str:
        return "".join(self.output.values())


def carry_out(
    github: GitHub,
    name: str,
    *,
    prepare: Callable[[Path], None],
    **inputs: Any,
) -> Job:
    """Run the one job of a workflow. `prepare` changes the checkout: it is what the user committed."""
    github.jobs += 1
    document = workflow(name)
    (described,) = document["jobs"].values()
    defaults = {key: given.get("default", "") for key, given in _inputs(document).items()}
    shutil.rmtree(github.temp / "logs", ignore_errors=True)
    job = Job(
        github,
        github.folder / f"workspace-{github.jobs}",
        {
            "github": {"run_id": str(1000 + github.jobs), "run_attempt": "1", "token": "token-of-the-job"},
            "inputs": defaults | inputs,
            "secrets": github.secrets,
            "runner": {"temp": str(github.temp)},
            "steps": {},
        },
    )
    files = {key: job.workspace.with_name(f"{key}-{github.jobs}") for key in ("OUTPUT", "ENV", "PATH")}
    files["STEP_SUMMARY"] = job.workspace.with_name(f"summary-{github.jobs}")
    for file in files.values():
        file.touch()
    ran = _Steps(job, files, document.get("defaults", {}).get("run", {}).get("shell", ""))
    for step in described["steps"]:
        ran.step(step)
        if step.get("uses", "").startswith("actions/checkout@"):
            prepare(job.workspace)
    assert not files["ENV"].stat().st_size, "GITHUB_ENV is not emulated"
    job.summary = files["STEP_SUMMARY"].read_text(encoding="utf-8")
    return job


def _inputs(document: Mapping[Any, Any]) -> dict[str, Any]:
    given = document[True].get("workflow_dispatch")
    return dict((given or {}).get("inputs", {}))


class _Steps:
    def __init__(self, job: Job, files: Mapping[str, Path], shell: str) -> None:
        self.job, self.files, self.shell = job, files, shell
        self.path: list[str] = []

    def step(self, step: Mapping[str, Any]) -> None:
        job = self.job
        failed = "failure" in job.steps.values()
        status = {"success": not failed, "failure": failed, "always": True, "cancelled": False}
        name = step.get("name") or step.get("uses") or step["run"]
        record: dict[str, Any] = {"outputs": {}, "outcome": "skipped"}
        if "id" in step:
            job.contexts["steps"][step["id"]] = record
        if condition(step.get("if"), job.contexts, status):
            filled = {
                part: {k: fill(v, job.contexts, status) for k, v in step.get(part, {}).items()}
                for part in ("env", "with")
            }
            if "run" in step:
                good = self.shell_step(name, step["run"], filled["env"], record["outputs"])
            else:
                action = step["uses"].partition("@")[0]
                good = ACTIONS[action](job, self, filled["with"], record["outputs"])
            record["outcome"] = "success" if good else "failure"
        job.steps[name] = record["outcome"]

    def shell_step(self, name: str, script: str, env: Mapping[str, str], outputs: dict[str, str]) -> bool:
        assert "${{" not in script, f"{name}: expressions reach the shell through env only"
        file = self.job.github.temp / "script.sh"
        file.write_text(script, encoding="utf-8")
        # https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax#defaultsrunshell
        options = ["--noprofile", "--norc", "-eo", "pipefail"] if self.shell == "bash" else ["-e"]
        self.files["OUTPUT"].write_text("", encoding="utf-8")
        done = subprocess.run(
            ["bash", *options, str(file)],
            cwd=self.job.workspace,
            env=self.environment() | env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            timeout=LIMIT_S,
            check=False,
        )
        self.job.output[name] = done.stdout
        for line in self.files["OUTPUT"].read_text(encoding="utf-8").splitlines():
            key, equals, value = line.partition("=")
            assert equals, f"{name}: an output of several lines: {line}"
            outputs[key] = value
        self.path = self.files["PATH"].read_text(encoding="utf-8").splitlines()[::-1]
        return done.returncode == 0

    def environment(self) -> dict[str, str]:
        github = self.job.contexts["github"]
        kept = {k: v for k, v in os.environ.items() if k in KEPT or k.startswith(("PIP_", "SSL_"))}
        return kept | {
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_API_URL": self.job.github.url,
            "GITHUB_SERVER_URL": "https://github.com",
            "GITHUB_REPOSITORY": "ada/sensors",
            "GITHUB_REF": "refs/heads/main",
            "GITHUB_RUN_ID": github["run_id"],
            "GITHUB_OUTPUT": str(self.files["OUTPUT"]),
            "GITHUB_ENV": str(self.files["ENV"]),
            "GITHUB_PATH": str(self.files["PATH"]),
            "GITHUB_STEP_SUMMARY": str(self.files["STEP_SUMMARY"]),
            "RUNNER_TEMP": str(self.job.github.temp),
            "PATH": os.pathsep.join([*self.path, str(self.job.github.temp / "bin"), kept["PATH"]]),
        }


Action = Callable[[Job, _Steps, Mapping[str, str], dict[str, str]], bool]


def _checkout(job: Job, steps: _Steps, given: Mapping[str, str], outputs: dict[str, str]) -> bool:  # noqa: ARG001
    left = shutil.ignore_patterns(
        ".git", ".venv", ".*_cache", "__pycache__", ".hypothesis", ".env", "state"
    )
    shutil.copytree(ROOT, job.workspace, ignore=left)
    (job.workspace / "state").mkdir()
    (job.workspace / "state" / ".gitkeep").touch()
    return True


def _python(job: Job, steps: _Steps, given: Mapping[str, str], outputs: dict[str, str]) -> bool:  # noqa: ARG001
    folder = job.github.temp / "bin"
    if not folder.exists():
        folder.mkdir()
        # Of the base installation: a virtual environment's would bring its packages along.
        (folder / "python").symlink_to(Path(sys.base_prefix) / "bin" / "python3")
    return True


def _restore(job: Job, steps: _Steps, given: Mapping[str, str], outputs: dict[str, str]) -> bool:  # noqa: ARG001
    wanted = (given["key"], *given.get("restore-keys", "").split())
    newest = list(job.github.caches)[::-1]
    matches = [key for prefix in wanted for key in newest if key.startswith(prefix)]
    outputs["cache-hit"] = "false"
    if matches and not job.github.broken_cache:
        shutil.copytree(job.github.caches[matches[0]], job.workspace / given["path"], dirs_exist_ok=True)
        outputs["cache-matched-key"] = matches[0]
    return True


def _save(job: Job, steps: _Steps, given: Mapping[str, str], outputs: dict[str, str]) -> bool:  # noqa: ARG001
    assert given["key"] not in job.github.caches, "a cache cannot be written twice"
    kept = job.github.folder / "caches" / given["key"]
    job.github.caches[given["key"]] = shutil.copytree(job.workspace / given["path"], kept)
    return True


def _upload(job: Job, steps: _Steps, given: Mapping[str, str], outputs: dict[str, str]) -> bool:  # noqa: ARG001
    source = Path(given["path"])
    if source.exists():
        run = job.contexts["github"]["run_id"]
        shutil.copytree(source, job.github.folder / "artifacts" / run / given["name"])
    return source.exists() or given["if-no-files-found"] == "ignore"


ACTIONS: dict[str, Action] = {
    "actions/checkout": _checkout,
    "actions/setup-python": _python,
    "actions/cache/restore": _restore,
    "actions/cache/save": _save,
    "actions/upload-artifact": _upload,
}
