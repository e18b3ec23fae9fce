"""The command line in a process of its own, forked from one that has its imports done: a tenth of the time.

Exit code, signals, working directory, environment and files are those of a fresh process. Where what a process imports,
or in which order, is the question, or Python itself is told something by its environment, start a fresh one.
"""

from __future__ import annotations

import multiprocessing
import os
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


def run_edgeclf(
    arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str], stdin: bytes = b"", timeout: float = 60
) -> subprocess.CompletedProcess[bytes]:
    """As subprocess.run(["python", "-m", "edgeclf", *arguments], capture_output=True)."""
    _start()
    with TemporaryDirectory() as folder:
        streams = [Path(folder, name) for name in ("stdin", "stdout", "stderr")]
        streams[0].write_bytes(stdin)
        process = _CONTEXT.Process(target=_main, args=(list(arguments), str(cwd), dict(env), list(map(str, streams))))
        process.start()
        process.join(timeout)
        if process.is_alive():
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(list(arguments), timeout, streams[1].read_bytes(), streams[2].read_bytes())
        assert process.exitcode is not None
        return subprocess.CompletedProcess(
            list(arguments), process.exitcode, streams[1].read_bytes(), streams[2].read_bytes()
        )


def _main(arguments: list[str], cwd: str, env: dict[str, str], streams: list[str]) -> Any:
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
    sys.argv = ["edgeclf", *arguments]
    sys.path[0] = ""
    from edgeclf.cli import main

    sys.exit(main())
