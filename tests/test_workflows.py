"""GitHub's workflows, as far as they can be checked without GitHub: pins, permissions, what they call, two linters."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeclf_benchmarks.records.interpreters import SUPPORTED

pytestmark = pytest.mark.check

yaml = pytest.importorskip("yaml")

NAMES = ("ci.yml", "release.yml")


def path_of(root: Path, name: str) -> Path:
    path = root / ".github" / "workflows" / name
    if not path.exists():
        pytest.skip("no checkout: the sdist has no workflows")
    return path


def jobs(root: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path_of(root, name).read_bytes())["jobs"]
    return found


@pytest.mark.parametrize("name", NAMES)
def test_actions_are_pinned_by_commit_and_their_release_is_named(root: Path, name: str) -> None:
    used = re.findall(r"uses: (.*)", path_of(root, name).read_text())
    assert used
    for each in used:
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each), each


@pytest.mark.parametrize("name", NAMES)
def test_a_job_may_write_only_what_it_has_to(root: Path, name: str) -> None:
    content = yaml.safe_load(path_of(root, name).read_bytes())
    assert content["permissions"] in ({}, {"contents": "read"})
    writing = {
        job: {k for k, v in found.get("permissions", {}).items() if v == "write"}
        for job, found in jobs(root, name).items()
    }
    allowed = {"build": {"id-token", "attestations"}, "publish": {"id-token"}, "draft": {"contents"}}
    assert {job: rights for job, rights in writing.items() if rights} == (allowed if name == "release.yml" else {})


def test_no_workflow_uses_a_stored_secret(root: Path) -> None:
    assert not any("secrets." in path_of(root, name).read_text() for name in NAMES)


def test_the_runtime_runs_on_every_supported_python_and_three_systems(root: Path) -> None:
    matrix = jobs(root, "ci.yml")["runtime"]["strategy"]["matrix"]
    assert tuple(matrix["python"]) == SUPPORTED
    assert {system.split("-")[0] for system in matrix["os"]} == {"ubuntu", "macos", "windows"}


@pytest.mark.parametrize("name", NAMES)
def test_every_file_that_a_step_names_is_there(root: Path, name: str) -> None:
    steps = [step.get("run", "") for job in jobs(root, name).values() for step in job["steps"]]
    named = {word for step in steps for word in step.split() if word.startswith(("tests/", ".ci/"))}
    assert named and all((root / word).exists() for word in named), named


@pytest.mark.parametrize("linter", ["actionlint", "zizmor"])
def test_linters_find_nothing(root: Path, linter: str) -> None:
    program = shutil.which(linter) or shutil.which(linter, path=Path(sys.executable).parent)
    if program is None:
        pytest.skip(f"{linter} is not installed; pip install '.[lint]'")
    files = [str(path_of(root, name)) for name in NAMES]
    command = [program, *files] if linter == "actionlint" else [program, "--offline", "--no-progress", *files]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
