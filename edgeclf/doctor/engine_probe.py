"""Reads the version and devices of each engine in a process of its own: one that crashes on import is only reported."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from edgeclf_runtime.errors import one_line
from edgeclf_runtime.session import BACKENDS

_PROBE_LIMIT_S = 120


def probe_engines(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Version and devices of each engine, read side by side."""
    started = {name: _start_probe(name) for name in names}
    return {name: _finish_probe(process) for name, process in started.items()}


def _start_probe(name: str) -> subprocess.Popen[str]:
    # the child sees the modules that this process sees, and none from the folder it happens to stand in
    path = "import sys; sys.path[:] = [p for p in sys.path if p]"
    code = f"{path}; from edgeclf.doctor.engine_probe import probe; probe({name!r})"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )


def _finish_probe(process: subprocess.Popen[str]) -> dict[str, Any]:
    try:
        output, _ = process.communicate(timeout=_PROBE_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return {"error": f"its import takes longer than {_PROBE_LIMIT_S} s"}
    if process.returncode < 0:
        return {"error": f"its import crashes ({signal.Signals(-process.returncode).name})"}
    try:
        found: dict[str, Any] = json.loads(output.splitlines()[-1])
    except (IndexError, ValueError):
        return {"error": f"its import ends the process (exit code {process.returncode})"}
    return found


def probe(name: str) -> None:
    """Runs in a child process: imports one engine and prints its version and devices as a line of JSON."""
    try:
        found = asdict(BACKENDS[name].installed())
    except Exception as error:  # whatever a broken install raises is the finding
        found = {"error": one_line(error, 300)}
    print("\n" + json.dumps(found))
