"""Commands whose disk is full, read-only, or no folder at all: one line, exit code 3, nothing half-written.

Full and read-only disks are small tmpfs mounts, at the output's folder, at the folder for temporary files, or where the
bundle lies beside which a proof is written; so this part needs Linux and root.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from edgeclf_benchmarks.records.faults.commands import (
    BUNDLE,
    CLIP,
    DATA,
    ENCODER,
    KEY,
    OUT,
    Work,
    leftovers,
    remove,
    works,
)
from edgeclf_benchmarks.records.faults.process import Ended, Server

_SIZES_KB = (4, 16, 48, 96, 192, 384, 768, 1536, 3072)  # each fills up at another file
_DATA_ERROR = 3
_TEMPORARY, _TEMPORARY_KB = "tmp", (12, 64, 384)


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
        other("pack --sign", "signed.tar", "pack", BUNDLE, "--sign", KEY, "-o"),
        other("explain", "why", "explain", BUNDLE, f"{DATA}/red/0.png", "--masks", "8", "-o"),
        other("embed", "rows.npz", "embed", ENCODER, DATA, "-o"),
        Work("zeroshot", _zeroshot(), f"{OUT}/small-onnx-fp32", lambda _: None, 0),
    )


def _zeroshot() -> tuple[str, ...]:
    return ("zeroshot", "red,green,blue", "-m", CLIP, "--pretrained", "random", "--name", "small", "-o", OUT)


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
    _try_temporary(server, work, found)
    print(f"{work.name}: {found}", file=sys.stderr)
    return found


def try_beside(server: Server, command: str) -> Disks:
    """Runs `command` on a bundle whose disk is full, or read-only: proofs would go beside it, and it does without."""
    found, folder = Disks(), server.folder / "device"
    for what in ("full disk", "read-only disk"):
        with _mounted(folder, 4096):
            shutil.copytree(server.folder / BUNDLE, folder / "net")
            if what == "full disk":
                _fill(folder)
            else:
                subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
            before = {path.name for path in folder.iterdir()}
            ended = server.run((command, "device/net"))
            if ended.code or "Traceback" in ended.stderr:
                found.faults.append(f"{what} of the bundle: exit code {ended.code}: {ended.stderr[-300:]}")
            elif left := sorted(path for path in folder.rglob("*.json") if not path.stat().st_size):
                found.faults.append(f"{what} of the bundle: {left[0].name} is empty")
            elif stray := {path.name for path in folder.iterdir()} - before - {"net.proofs"}:
                found.faults.append(f"{what} of the bundle: left {', '.join(sorted(stray))}")
            else:
                found.whole += 1
    folder.rmdir()
    return found


def _fill(folder: Path) -> None:
    with (folder / "filler").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 4096)


def _try_temporary(server: Server, work: Work, found: Disks) -> None:
    """A folder for temporary files that soon is full; one that takes nothing Python passes over."""
    folder = server.folder / _TEMPORARY
    for size in _TEMPORARY_KB:
        with _mounted(folder, size):
            _try(server, work, found, f"temporary folder of {size} KB", {"TMPDIR": str(folder)})
        for left in list((server.folder / work.output).parent.iterdir()):  # signatures and proofs, too
            remove(left)
    folder.rmdir()


def _try(server: Server, work: Work, found: Disks, what: str, environment: Mapping[str, str] | None = None) -> None:
    ended = server.run(work.arguments, environment=environment)
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
