"""Contenders as processes that stay: opened and warmed, then measured in turns."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

from edgeclf_benchmarks.records.peers.contenders import Contender
from edgeclf_benchmarks.records.record import spread

WORKERS = Path(__file__).parent / "workers"
_OPEN_WITHIN_S, _TURN_WITHIN_S = 120.0, 60.0
_REST_S = 0.1  # threads that still spin after one turn must not slow the next
_OURS = ("PYTEST", "PYTHON", "VIRTUAL_ENV")


class WorkerFailed(Exception):
    """A contender that can't be opened, or ended; says why, in its own last words."""


def worker_command(python: Path, contender: Contender, settings: Mapping[str, Any], *more: str) -> list[str]:
    """The command that runs a contender in its environment."""
    script = WORKERS / f"{contender.script}.py"
    return [str(python), str(WORKERS / "worker.py"), str(script), json.dumps(settings), *more]


def environment_of(contender: Contender) -> dict[str, str]:
    """This process's, without what is meant for this Python; nothing is asked of a hub of models."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    if contender.environment == "edgeclf":
        kept["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    return {**kept, "HF_HUB_OFFLINE": "1", "YOLO_OFFLINE": "true"}


def opened_line(line: str) -> dict[str, Any]:
    """What a worker says first. Raises WorkerFailed where that is no such line."""
    try:
        found = json.loads(line)
        return {"facts": dict(found["facts"]), "versions": dict(found["versions"]), "top1": list(found["top1"])}
    except (ValueError, KeyError, TypeError):
        raise WorkerFailed(f"its first line is {line[:80]!r}") from None


class Turn(NamedTuple):
    """What one turn took: all threads of the worker's process together spent `cpu_ms` on an image."""

    images_per_s: float
    cpu_ms: float


def turn_of(line: str) -> Turn:
    """Raises WorkerFailed where the line is not about a turn."""
    try:
        found = json.loads(line)
        images = float(found["images"])
        return Turn(images / float(found["seconds"]), 1000 * float(found["cpu_seconds"]) / images)
    except (ValueError, KeyError, TypeError, ZeroDivisionError):
        raise WorkerFailed(f"its line is {line[:80]!r}, no turn") from None


class Worker:
    """One contender's process. `opened`: what it found out about itself, its versions, its predictions."""

    def __init__(self, python: Path, contender: Contender, settings: Mapping[str, Any]) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  closed with the worker
        self._process = subprocess.Popen(
            worker_command(python, contender, settings),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment_of(contender),
            cwd=tempfile.gettempdir(),
        )
        self._left = b""
        self.opened: dict[str, Any] = {}

    def open(self) -> None:
        """Waits until it has warmed up; then `opened` is there. Raises WorkerFailed."""
        self.opened = opened_line(self._line(_OPEN_WITHIN_S))

    def turn(self) -> Turn:
        """What one turn took."""
        stdin = self._stdin()
        try:
            stdin.write(b"\n")
            stdin.flush()
        except BrokenPipeError:
            raise WorkerFailed(self._last_words()) from None
        return turn_of(self._line(_TURN_WITHIN_S))

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def _stdin(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    def _line(self, seconds: float) -> str:
        assert self._process.stdout is not None
        end = time.monotonic() + seconds
        while b"\n" not in self._left:
            if not select.select([self._process.stdout], [], [], max(0.0, end - time.monotonic()))[0]:
                raise WorkerFailed(f"no line within {seconds:g} s")
            if not (read := os.read(self._process.stdout.fileno(), 65536)):
                raise WorkerFailed(self._last_words())
            self._left += read
        line, _, self._left = self._left.partition(b"\n")
        return line.decode()

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else f"it ended with {self._process.wait()}"


@dataclass(frozen=True, slots=True)
class Entrant:
    """A contender of a row with its Python and its settings."""

    contender: Contender
    python: Path
    settings: Mapping[str, Any]


def measure(entrants: Sequence[Entrant], rounds: int, reference: str) -> list[dict[str, Any]]:
    """Images a second and CPU time an image of each contender, and how often it agrees with `reference`'s top-1.

    A first round, in which each finds its rate, is left out.
    """
    workers: dict[str, Worker] = {}
    failed: dict[str, str] = {}
    turns: dict[str, list[Turn]] = {}
    try:
        # edgeclf measures when it opens, which batch size is fastest: alone, when all others have opened together
        for alone in (False, True):
            now = [each for each in entrants if (each.contender.role == "edgeclf") == alone]
            for group in ([each] for each in now) if alone else (now,):
                _open(group, workers, failed)
        for _ in range(rounds + 1):
            for name in [each for each in workers if each not in failed]:
                time.sleep(_REST_S)
                try:
                    turns.setdefault(name, []).append(workers[name].turn())
                except WorkerFailed as error:
                    failed[name] = str(error)
        for name, why in failed.items():
            print(f"{name}: not measured: {why}", file=sys.stderr)
        agreed = [] if reference in failed else workers[reference].opened["top1"]
        return [_figures(each.contender, workers, failed, turns, agreed) for each in entrants]
    finally:
        for worker in workers.values():
            worker.close()


def _open(entrants: Sequence[Entrant], workers: dict[str, Worker], failed: dict[str, str]) -> None:
    """Starts them together and waits for each."""
    for each in entrants:
        workers[each.contender.name] = Worker(each.python, each.contender, each.settings)
    for each in entrants:
        try:
            workers[each.contender.name].open()
        except WorkerFailed as error:
            failed[each.contender.name] = str(error)


def _figures(
    contender: Contender,
    workers: Mapping[str, Worker],
    failed: Mapping[str, str],
    turns: Mapping[str, list[Turn]],
    reference: Sequence[int],
) -> dict[str, Any]:
    named = {"name": contender.name, "role": contender.role, "pixels": contender.pixels}
    if contender.name in failed:
        return {**named, "failed": failed[contender.name]}
    opened, measured = workers[contender.name].opened, turns[contender.name][1:]
    figures = {
        **named,
        "images_per_s": spread([each.images_per_s for each in measured], 1),
        "cpu_ms_an_image": spread([each.cpu_ms for each in measured], 2),
        "environment": contender.environment,
        "facts": opened["facts"],
        "versions": opened["versions"],
    }
    if opened["top1"] and reference:
        figures["agreement"] = round(agreement(opened["top1"], reference), 3)
        figures["classes_predicted"] = len(set(opened["top1"]))
    return figures


def agreement(found: Sequence[int], reference: Sequence[int]) -> float:
    """Share of images with the same top-1 class."""
    return sum(one == other for one, other in zip(found, reference, strict=True)) / len(reference)
