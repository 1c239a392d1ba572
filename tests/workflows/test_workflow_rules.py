"""What holds for every workflow of this repository, and the linters that know the rest."""

from __future__ import annotations

import re
import subprocess
from typing import Any

import pytest
import yaml

from loader.settings.durations import parse_duration
from tests.workflows.expressions import condition, evaluate, fill
from tests.workflows.runner import ROOT, WORKFLOWS, workflow
from tests.workflows.tools import tool

NAMES = sorted(p.name for p in WORKFLOWS.iterdir())
PINNED = re.compile(r"^\s*(?:- )?uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")
STATUS = {"success": True, "failure": False, "always": True, "cancelled": False}


def steps(name: str) -> list[dict[str, Any]]:
    return [step for job in workflow(name)["jobs"].values() for step in job["steps"]]


def lint(program: str, *arguments: str) -> None:
    done = subprocess.run(
        [tool(program), *arguments], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_schema_fits() -> None:
    """GitHub's schemas of workflows and of Dependabot's file."""
    files = [str(WORKFLOWS / name) for name in NAMES]
    lint("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *files)
    lint("check-jsonschema", "--builtin-schema", "vendor.dependabot", str(ROOT / ".github/dependabot.yml"))


def test_zizmor_finds_nothing() -> None:
    """Injection, permissions, pins, credentials: nothing, at its pedantic setting."""
    lint("zizmor", "--offline", "--no-progress", "--persona", "pedantic", str(ROOT / ".github"))


def test_actionlint_finds_nothing() -> None:
    """Syntax, types of expressions, inputs of actions, cron, and scripts where shellcheck is installed."""
    lint("actionlint", "-no-color", *(str(WORKFLOWS / name) for name in NAMES))


@pytest.mark.parametrize("name", NAMES)
def test_actions_are_pinned(name: str) -> None:
    """Each by the full hash of a commit, with the version that it is in a comment."""
    uses = [line for line in (WORKFLOWS / name).read_text("utf-8").splitlines() if "uses:" in line]
    assert uses
    assert [line for line in uses if not PINNED.match(line)] == []


def test_one_version_of_each_action() -> None:
    """An action is of the same version wherever it is used."""
    versions: dict[str, set[str]] = {}
    for name in NAMES:
        for step in steps(name):
            if "uses" in step:
                action, _, commit = step["uses"].partition("@")
                versions.setdefault("/".join(action.split("/")[:2]), set()).add(commit)
    assert {action: commits for action, commits in versions.items() if len(commits) > 1} == {}


@pytest.mark.parametrize("name", NAMES)
def test_permissions_and_time_are_limited(name: str) -> None:
    """Nothing by default, what a job needs by itself; a time limit; no credentials left in the checkout."""
    document = workflow(name)
    assert document["permissions"] == {}
    assert "concurrency" in document
    for job in document["jobs"].values():
        assert 0 < job["timeout-minutes"] <= 120
        assert job["permissions"]["contents"] == "read"
    for step in steps(name):
        assert "${{" not in step.get("run", "")
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


def test_every_step_of_the_load_has_time() -> None:
    """The job's limit is longer than its steps' together, so that none takes away another's."""
    (job,) = workflow("load.yml")["jobs"].values()
    limits = [step["timeout-minutes"] for step in job["steps"]]
    assert sum(limits) <= job["timeout-minutes"]
    (load,) = [step for step in job["steps"] if step["name"] == "Load"]
    stop, kill = re.search(r"--kill-after=(\w+) (\w+) loader run", load["run"]).groups()[::-1]  # type: ignore[union-attr]
    assert parse_duration(stop) + parse_duration(kill) < parse_duration(f"{load['timeout-minutes']}m")


def test_loads_are_off_the_hour_every_two_hours_and_never_cancelled() -> None:
    """The schedule, and a queue in which nobody is replaced."""
    document = workflow("load.yml")
    (entry,) = document[True]["schedule"]
    minute, hours = entry["cron"].split()[:2]
    assert 5 <= int(minute) <= 55
    assert hours == "*/2"
    assert document["concurrency"] == {"group": "load", "cancel-in-progress": False, "queue": "max"}


def test_the_loader_is_given_every_variable_of_the_configuration() -> None:
    """Check and Load have just those that config.yaml names, as secrets of the same name."""
    text = (ROOT / "config.yaml").read_text(encoding="utf-8")
    used = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    names = set(re.findall(r"\$\{([A-Z][A-Z0-9_]*)", used))
    assert {"OPENAQ_API_KEY", "DATABASE_URL", "SLACK_WEBHOOK_URL"} <= names
    for title in ("Check", "Load"):
        (step,) = [s for s in steps("load.yml") if s["name"] == title]
        secrets = {k: v for k, v in step["env"].items() if "secrets." in v}
        assert secrets == {name: f"${{{{ secrets.{name} }}}}" for name in names}


def test_the_page_says_what_the_workflow_does() -> None:
    """docs/github-actions.md has every secret, every exit code, and links that lead somewhere."""
    text = (ROOT / "docs" / "github-actions.md").read_text(encoding="utf-8")
    (load,) = [s for s in steps("load.yml") if s["name"] == "Load"]
    secrets = {name for name, value in load["env"].items() if "secrets." in value}
    assert {name for name in secrets if f"`{name}`" not in text} == set()
    codes = set(re.findall(r"^\| (\d+) \w", text, flags=re.MULTILINE))
    assert codes == {"0", "1", "2", "3", "75", "78", "137", "143"}
    anchors = {title.lower().replace(" ", "-") for title in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}
    assert set(re.findall(r"\]\(#([^)]*)\)", text)) <= anchors


def test_ci_runs_every_supported_python() -> None:
    """From requires-python up to the newest, all as texts: 3.10 would be a number like 3.1."""
    matrix = workflow("ci.yml")["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert matrix == ["3.11", "3.12", "3.13", "3.14"]
    assert 'requires-python = ">=3.11"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_dependabot_looks_after_the_actions() -> None:
    """Pins do not grow old: every ecosystem is asked weekly, and not on a release's first days."""
    updates = yaml.safe_load((ROOT / ".github/dependabot.yml").read_text(encoding="utf-8"))["updates"]
    assert "github-actions" in {update["package-ecosystem"] for update in updates}
    assert all(update["cooldown"]["default-days"] >= 3 for update in updates)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.b == 'x' && a.c-d == ''", True),
        ("a.b != 'x' || failure()", False),
        ("!(a.b == 'y') && always()", True),
        ("a.missing.deeper == ''", True),
        ("a.b == 'it''s'", False),
    ],
)
def test_expressions_are_read_as_github_reads_them(text: str, expected: bool) -> None:
    """The emulated runner's expressions: operators, missing values, quotes."""
    assert bool(evaluate(text, {"a": {"b": "x"}}, STATUS)) is expected


def test_expressions_that_are_not_understood_are_refused() -> None:
    """Contexts and functions that the emulated runner does not know are errors, not empty texts."""
    for text in ("b.c == ''", "contains('a', 'b')", "1 < 2"):
        with pytest.raises((ValueError, KeyError, SyntaxError)):
            evaluate(text, {"a": {}}, STATUS)


def test_steps_after_a_failure_need_a_status_function() -> None:
    """A step's condition counts only after success, unless it names a status function."""
    failed = {**STATUS, "success": False, "failure": True}
    assert [condition(text, {}, failed) for text in (None, "'x' == 'x'", "always()", "failure()")] == [
        False,
        False,
        True,
        True,
    ]
    assert fill(True, {}, STATUS) == "true"
    assert fill("<${{ a.b }}>", {"a": {"b": False}}, STATUS) == "<false>"
