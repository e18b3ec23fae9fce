"""Checks that run one after another or side by side, and a record that is written again after each of them.

A check is a function; what it returns is its finding, and an error is a finding too: the record keeps its words. So a
machine that is taken away in the middle leaves what was seen until then.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from edgeclf_benchmarks.records.record import write_record

_KEPT_LINES = 6
_LONGEST_S = 400


class Refused(Exception):
    """A command ended with an error; the text is its exit code and its last lines."""


class Checks:
    """The findings of one module, in the order in which they came in.

    `seconds` is the time that there is: what has not begun by then is recorded as not run.
    """

    def __init__(self, output: Path, module: str, folder: Path, seconds: float, only: str = "") -> None:
        self._output, self._module, self.folder = output, module, folder
        self._end = time.monotonic() + seconds
        self._only = re.compile(only)
        self._findings: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._own = threading.local()

    def run(self, name: str, check: Callable[[], Any]) -> Any:
        """What `check` returns, recorded; None where it fails, or is not run."""
        if not self._only.search(name):
            return None
        if time.monotonic() > self._end:
            self._record(name, {"passed": None, "words": "not run, for want of time"})
            return None
        start = time.monotonic()
        try:
            found, passed, words = check(), True, ""
        except Exception as error:  # whatever goes wrong on a machine that nobody has tried is a finding
            found, passed, words = None, False, f"{type(error).__name__}: {error}"
        entry = {"passed": passed, "seconds": round(time.monotonic() - start, 1)}
        self._record(name, entry | ({"words": self._clean(words)} if words else {"found": found}))
        return found

    def together(self, checks: Mapping[str, Callable[[], Any]], at_once: int) -> dict[str, Any]:
        """Several checks side by side, where nothing is timed."""
        cores = sorted(os.sched_getaffinity(0))
        shares = [set(cores[number::at_once]) for number in range(at_once)] if len(cores) >= at_once else [set(cores)]

        def take_share() -> None:  # else each takes all cores, and they wait for one another
            self._own.cores = shares.pop() if len(shares) > 1 else shares[0]

        with ThreadPoolExecutor(at_once, initializer=take_share) as pool:
            started = {name: pool.submit(self.run, name, check) for name, check in checks.items()}
            return {name: future.result() for name, future in started.items()}

    def edgeclf(self, *arguments: str) -> Any:
        """The document of one verb with --json. Raises Refused with its last lines."""
        return json.loads(self.python("-m", "edgeclf", *arguments, "--json"))

    def python(self, *arguments: str) -> str:
        """What a Python process prints. Raises Refused with its last lines."""
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=_LONGEST_S,
            preexec_fn=self._on_own_cores(),
        )
        if done.returncode:
            said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-_KEPT_LINES:]
            raise Refused(f"exit code {done.returncode}: " + " | ".join(said))
        return done.stdout

    def _on_own_cores(self) -> Callable[[], None] | None:
        cores = getattr(self._own, "cores", None)
        return partial(os.sched_setaffinity, 0, cores) if cores else None

    def _record(self, name: str, entry: dict[str, Any]) -> None:
        with self._lock:
            self._findings[name] = entry
            print(name, json.dumps(entry)[:600], file=sys.stderr, flush=True)
            write_record(self._output, self._module, self._findings)

    def _clean(self, words: str) -> str:
        """Without the folder, which is nobody's business."""
        return " ".join(words.replace(f"{self.folder}/", "").split())[:1500]


def parser_of(text: str | None) -> argparse.ArgumentParser:
    """What every module of checks takes; `text` is its docstring."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3000, help="what has not begun by then is left out")
    parser.add_argument("--only", default="", metavar="REGEX", help="checks of such names")
    parser.add_argument("-o", "--output", type=Path, required=True)
    return parser


@contextmanager
def opened(given: argparse.Namespace, name: str) -> Iterator[Checks]:
    """The checks of the module `name` of this package, in a folder of their own."""
    with tempfile.TemporaryDirectory() as place:
        module = f"edgeclf_benchmarks.records.gpu.{name}"
        yield Checks(given.output.resolve(), module, Path(place), given.seconds, given.only)
