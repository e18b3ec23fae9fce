"""Cold starts: one image classified by a whole process, of edgeclf, by hand and of each peer, in turns."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any

from edgeclf_benchmarks.records.record import spread

Command = tuple[Sequence[str], Mapping[str, str]]  # and its environment


def measure_cold_starts(commands: Mapping[str, Command], turns: int) -> dict[str, dict[str, Any]]:
    """Seconds by the clock and of CPU of each command; a first turn, which may compile Python files, is left out."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    failed: dict[str, str] = {}
    for _ in range(turns + 1):
        for name, command in commands.items():
            if name not in failed:
                try:
                    taken[name].append(_seconds(*command))
                except ChildProcessError as error:
                    failed[name] = str(error)
                    print(f"{name}: not measured: {error}", file=sys.stderr)
    return {
        name: {"failed": failed[name]}
        if name in failed
        else {"seconds": spread([each[0] for each in found[1:]]), "cpu_s": spread([each[1] for each in found[1:]])}
        for name, found in taken.items()
    }


def _seconds(command: Sequence[str], environment: Mapping[str, str]) -> tuple[float, float]:
    """(by the clock, of CPU). Raises ChildProcessError, with its last line, where it fails."""
    with tempfile.TemporaryFile() as errors:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors, env=environment
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            lines = errors.read().decode(errors="replace").strip().splitlines()
            raise ChildProcessError(lines[-1][:300] if lines else f"it ended with {process.returncode}")
    return seconds, usage.ru_utime + usage.ru_stime
