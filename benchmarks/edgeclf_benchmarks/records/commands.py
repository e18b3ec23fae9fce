"""Runs commands as a user would, each in a process of its own, and reads the JSON that they print."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from edgeclf_runtime.errors import GateError


def run_json(module: str, *arguments: str, folder: Path) -> Any:
    """The document that `python -m module arguments` prints on stdout, run in `folder`; its notices pass through."""
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[1:])} ended with {done.returncode}")
    return json.loads(done.stdout)


def edgeclf(*arguments: str, folder: Path) -> Any:
    """The document of one verb with --json."""
    return run_json("edgeclf", *arguments, "--json", folder=folder)


def trained(run: Path, split: Path, *options: str) -> Path:
    """The run of these options in its parent's parent, trained there, or gone on with, unless it has ended."""
    folder = run.parent.parent
    if (run / "config.json").exists():
        if not (run / "model.json").exists():
            edgeclf("train", "--resume", str(run), folder=folder)
    else:
        edgeclf("train", str(split), *options, "--name", run.name, folder=folder)
    return run


def gated(*arguments: str, folder: Path) -> Any:
    """As `edgeclf`, but a gate that fails is a finding: {"refused": the sentence that it failed with}."""
    command = [sys.executable, "-m", "edgeclf", *arguments, "--json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    sys.stderr.write(done.stderr)
    if done.returncode == GateError.exit_code:
        return {"refused": done.stderr.strip().splitlines()[-1]}
    if done.returncode:
        raise SystemExit(f"{' '.join(command[1:])} ended with {done.returncode}")
    return json.loads(done.stdout)
