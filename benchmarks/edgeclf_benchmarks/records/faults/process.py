"""`edgeclf` commands in process groups of their own, to be killed at any moment; Linux."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended: exit code, or the negative number of its signal; and what it printed."""

    code: int
    stdout: str
    stderr: str
    seconds: float
    cpu_s: float

    @property
    def last_line(self) -> str:
        """Of stderr: an error."""
        lines = self.stderr.strip().splitlines()
        return lines[-1] if lines else ""


class Server:
    """Starts commands in `folder`. Make it with `serving`."""

    def __init__(self, process: subprocess.Popen[str], folder: Path, logs: Path) -> None:
        self._process, self.folder, self._logs, self._count = process, folder, logs, 0

    def start(
        self,
        arguments: Sequence[str],
        streams: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Command:
        """`streams`: files for stdout and stderr in place of those that are read when it ends."""
        self._count += 1
        paths = {name: str(self._logs / f"{self._count}.{name}") for name in ("stdout", "stderr")} | dict(streams or {})
        request = {"arguments": list(arguments), "folder": str(self.folder), "environment": dict(environment or {})}
        pid = self.ask({**request, **paths})["pid"]
        return Command(self, pid, Path(paths["stdout"]), Path(paths["stderr"]), time.monotonic())

    def run(
        self,
        arguments: Sequence[str],
        streams: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Ended:
        return self.start(arguments, streams, environment).wait()

    def must(self, *arguments: str) -> Ended:
        """As `run`, for what has to work before a fault is tried."""
        ended = self.run(arguments)
        if ended.code:
            raise SystemExit(f"edgeclf {' '.join(arguments)} ended with {ended.code}: {ended.stderr}")
        return ended

    def ask(self, request: Mapping[str, Any]) -> Any:
        if self._process.stdin is None or self._process.stdout is None:
            raise ValueError("the server has no pipes")
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        if not (line := self._process.stdout.readline()):
            raise SystemExit("the process that forks commands ended")
        return json.loads(line)


@dataclass(frozen=True, slots=True)
class Command:
    """A command that runs; `pid` is its process and its process group."""

    server: Server
    pid: int
    stdout: Path
    stderr: Path
    started: float

    def kill(self) -> None:
        """SIGKILL to the command and all processes that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    @property
    def ended(self) -> bool:
        """Whether it has ended; its exit code is still to be fetched with `wait`."""
        try:
            return (
                Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii", errors="replace").split(") ")[-1][0] == "Z"
            )
        except OSError:
            return True

    def wait(self) -> Ended:
        found = self.server.ask({"wait": self.pid})
        seconds = time.monotonic() - self.started
        return Ended(found["code"], _taken(self.stdout), _taken(self.stderr), seconds, found["cpu_s"])


def _taken(path: Path) -> str:
    """The text of a file, which goes away; "" of a device."""
    if not path.is_file():
        return ""
    text = path.read_text(encoding="utf-8", errors="replace")
    path.unlink()
    return text


@contextmanager
def serving(folder: Path, logs: Path, *, warm: bool = True) -> Iterator[Server]:
    """A server whose commands stand in `folder`; one thread each, and a state folder of their own.

    `warm`: it has imported what trainings and exports import.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NO_COLOR": "1", "XDG_STATE_HOME": str(logs / "state")}
    command = [sys.executable, "-m", "edgeclf_benchmarks.records.faults.server", *(["--warm"] if warm else [])]
    logs.mkdir(parents=True, exist_ok=True)
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True, start_new_session=True
    ) as process:
        server = Server(process, folder, logs)
        if process.stdout is None or not process.stdout.readline():
            raise SystemExit("the process that forks commands did not start")
        try:
            yield server
        finally:
            if process.stdin is not None:
                process.stdin.close()
