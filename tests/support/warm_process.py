"""The command line in a process of its own, forked from one that has its imports done: a tenth of the time.

Exit code, signals, working directory, environment and files are those of a fresh process. Where what a process imports,
or in which order, is the question, or Python itself is told something by its environment, start a fresh one.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from multiprocessing import forkserver
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["__main__", "warm_imports"])


@cache
def _start() -> None:
    """Starts the process to fork from. It looks for what it imports first in sys.path as it is here: by PYTHONPATH."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    try:
        forkserver.ensure_running()
    finally:
        del os.environ["PYTHONPATH"]
        if before is not None:
            os.environ["PYTHONPATH"] = before


class Started:
    """A running process, as subprocess.Popen with text in pipes shows it; `stdout` and `stderr` are files."""

    def __init__(
        self, command: Sequence[str], cwd: Path, env: Mapping[str, str], stdin: bytes = b"", *, alone: bool = False
    ) -> None:
        _start()
        self._folder = TemporaryDirectory(ignore_cleanup_errors=True)
        streams = [Path(self._folder.name, name) for name in ("stdin", "stdout", "stderr")]
        streams[0].write_bytes(stdin)
        self.stdout, self.stderr = streams[1:]
        arguments = (list(command), str(cwd), dict(env), list(map(str, streams)), alone)
        self._process = _CONTEXT.Process(target=_main, args=arguments)
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()

    def wait(self, timeout: float) -> int:
        """The exit code, once the process has ended."""
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout)
        return self.returncode

    def read(self, timeout: float) -> tuple[bytes, bytes]:
        """What was written to stdout and stderr, once the process has ended."""
        self._process.join(timeout)
        ended = not self._process.is_alive()
        if not ended:
            self._process.kill()
            self._process.join()
        stdout, stderr = (path.read_bytes() if path.exists() else b"" for path in (self.stdout, self.stderr))
        self._folder.cleanup()
        if not ended:
            raise subprocess.TimeoutExpired(self._process.name, timeout, stdout, stderr)
        return stdout, stderr

    def communicate(self, timeout: float = 60) -> tuple[str, str]:
        stdout, stderr = self.read(timeout)
        return stdout.decode(), stderr.decode()


def start_edgeclf(arguments: Sequence[str], *, cwd: Path, alone: bool = False, **environment: str) -> Started:
    """As subprocess.Popen(["python", "-m", "edgeclf", *arguments]); `alone`: in a session of its own."""
    return Started(["-m", *arguments], cwd, {**os.environ, **environment}, alone=alone)


def start_script(script: str, *arguments: str, cwd: Path, **environment: str) -> Started:
    """As subprocess.Popen(["python", "-c", script, *arguments])."""
    return Started(["-c", script, *arguments], cwd, {**os.environ, **environment})


def run_edgeclf(
    arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str], stdin: bytes = b"", timeout: float = 60
) -> subprocess.CompletedProcess[bytes]:
    """As subprocess.run(["python", "-m", "edgeclf", *arguments], capture_output=True)."""
    started = Started(["-m", *arguments], cwd, env, stdin)
    stdout, stderr = started.read(timeout)
    assert started.returncode is not None
    return subprocess.CompletedProcess(list(arguments), started.returncode, stdout, stderr)


def _main(command: list[str], cwd: str, env: dict[str, str], streams: list[str], alone: bool) -> Any:
    if alone:
        os.setsid()
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    for number, path in enumerate(streams):
        opened = os.open(path, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin = os.fdopen(os.dup(0), encoding="utf-8", closefd=False)
    sys.stdout = os.fdopen(os.dup(1), "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(os.dup(2), "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)
    sys.path[0] = ""
    if "torch" in sys.modules and env.get("OMP_NUM_THREADS", "").isdigit():
        sys.modules["torch"].set_num_threads(int(env["OMP_NUM_THREADS"]))  # which it has read when it was imported
    try:
        _run(command)
    except KeyboardInterrupt:  # a second Ctrl-C, say: Python ends of that signal, multiprocessing with exit code 1
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)


def _run(command: list[str]) -> Any:
    if command[0] == "-c":
        sys.argv = ["-c", *command[2:]]
        exec(command[1], {"__name__": "__main__"})
        sys.exit(0)
    sys.argv = ["edgeclf", *command[1:]]
    from edgeclf.cli import main

    sys.exit(main())
