"""Commands whose disk is full, read-only, or no folder at all: one line, exit code 3, nothing half-written.

Full and read-only disks are small tmpfs mounts at the output's folder, so this part needs Linux and root.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from edgeclf_benchmarks.records.fault_commands import BUNDLE, DATA, OUT, Work, leftovers, remove, works
from edgeclf_benchmarks.records.fault_process import Ended, Server

_SIZES_KB = (4, 16, 48, 96, 192, 384, 768, 1536, 3072)  # each fills up at another file
_DATA_ERROR = 3


@dataclass(slots=True)
class Disks:
    """What one command did on disks that take no more, or nothing.

    `refused`: ended with one line and exit code 3, and left nothing. `whole`: ended well, as there was space enough.
    """

    refused: int = 0
    whole: int = 0
    faults: list[str] = field(default_factory=list)


def writers() -> tuple[Work, ...]:
    """All of `works`, and the other commands that write a file or a folder."""

    def other(name: str, output: str, *arguments: str) -> Work:
        return Work(name, (*arguments, f"{OUT}/{output}"), f"{OUT}/{output}", lambda _: None, 0)

    small = ("-m", "test_resnet", "--weights", "random", "--img-size", "32")
    return (
        *(work for work in works() if work.begun is None),
        other("inspect --card", "card.md", "inspect", BUNDLE, "--card", "-o"),
        other("runs", "runs.html", "runs", "made", "-o"),
        other("data check", "check", "data", "check", DATA, "--report"),
        other("data preview", "preview.png", "data", "preview", DATA, "-o"),
        other("lr-find", "lr.png", "lr-find", DATA, *small, "--batch-size", "8", "-o"),
    )


def try_disks(server: Server, work: Work) -> Disks:
    """Runs `work` on every kind of disk."""
    found, folder = Disks(), (server.folder / work.output).parent
    for size in _SIZES_KB:
        with _mounted(folder, size):
            before = found.whole
            _try(server, work, found, f"disk of {size} KB")
        if found.whole > before:  # larger ones are large enough, too
            break
    with _mounted(folder, 64):
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
        _try(server, work, found, "read-only disk")
    folder.rmdir()
    folder.touch()
    _try(server, work, found, "parent that is a file")
    folder.unlink()
    folder.mkdir()
    for stream in ("stdout", "stderr") if work.kills else ():
        _try_streams(server, work, found, stream)
    print(f"{work.name}: {found}", file=sys.stderr)
    return found


def _try(server: Server, work: Work, found: Disks, what: str) -> None:
    ended = server.run(work.arguments)
    place = server.folder / work.output
    try:
        if ended.code == 0:
            work.check(place)
            found.whole += 1
            return
        _check_refusal(ended)
        _check_rest(work, place)
        found.refused += 1
    except Exception as error:  # a fault of whatever kind is what is looked for
        found.faults.append(f"{what}: {type(error).__name__}: {error}")


def _try_streams(server: Server, work: Work, found: Disks, stream: str) -> None:
    """A stdout or stderr that takes nothing, as of a full disk it is redirected to."""
    place = server.folder / work.output
    arguments = (*work.arguments, "--json") if stream == "stdout" else work.arguments
    ended = server.run(arguments, streams={stream: "/dev/full"})
    try:
        if ended.code not in (0, _DATA_ERROR):
            raise ValueError(f"exit code {ended.code}: {ended.stderr[-300:]}")
        if "Traceback" in ended.stderr:
            raise ValueError(ended.stderr[-300:])
        if place.exists():
            work.check(place)
    except Exception as error:  # a fault of whatever kind is what is looked for
        found.faults.append(f"full {stream}: {type(error).__name__}: {error}")
    remove(place)


def _check_refusal(ended: Ended) -> None:
    if ended.code != _DATA_ERROR or "Traceback" in ended.stderr:
        raise ValueError(f"exit code {ended.code}: {ended.stderr[-300:]}")
    errors = [line for line in ended.stderr.splitlines() if line.startswith("edgeclf: ")]
    if len(errors) != 1:
        raise ValueError(f"{len(errors)} lines of errors: {ended.stderr[-300:]}")


def _check_rest(work: Work, place: Path) -> None:
    """A training keeps what it can go on with; everything else leaves nothing."""
    if left := [path.name for path in leftovers(place.parent)]:
        raise ValueError(f"left behind: {', '.join(left)}")
    if work.resume and place.is_dir() and not (place / "model.json").exists():
        return
    if place.exists():
        raise ValueError(f"{work.output} is there")


@contextmanager
def _mounted(folder: Path, size_kb: int) -> Iterator[None]:
    remove(folder)
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_kb}k", "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
