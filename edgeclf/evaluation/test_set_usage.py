"""The test-set ledger: each evaluation that uses test images is recorded before it reads them.

There is one count for each split manifest on a machine, whatever model is evaluated: it is the test split that wears
out. Each use has an id, and is a line in two files: beside the bundle (or in the run), and in the machine's ledger,
`$XDG_STATE_HOME/edgeclf/test-uses.jsonl`. A bundle carries the ids that its run knew (`provenance.test_uses`), and what
is derived from it keeps them, so that the count goes on where the bundle travels.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from edgeclf_runtime.bundle.dataclass_json import parse_json
from edgeclf_runtime.bundle.manifest import Manifest
from edgeclf_runtime.errors import DataError
from edgeclf_runtime.file_lock import wait_for
from edgeclf_runtime.machine.facts import now_utc
from edgeclf_runtime.machine.state_folder import state_folder
from edgeclf_runtime.metrics.main_figure import MainFigure

LEDGER = "test-uses.jsonl"  # not .json: that is what proofs are called in a bundle's sidecar
RESULTS = "test-results.jsonl"
SCHEMA = 1
_NAMES = {"top-1": "top1", "mAP": "map"}  # of a result


@dataclass(frozen=True, slots=True)
class TestUse:
    """How many test images are used, and which use of this test split it is, counted from 1."""

    __test__ = False  # pytest: no test, whatever the name says

    images: int
    number: int
    recorded_in: str

    def __str__(self) -> str:
        return f"{self.images:,} test images, use no. {self.number} of this test split"


def new_use() -> str:
    """The id of one use: what one command evaluates, be it one bundle or several."""
    return uuid.uuid4().hex[:12]


def record_test_use(
    folder: Path,
    *,
    subject: str,
    data_sha256: str,
    images: int,
    verb: str,
    known: Collection[str] = (),
    use: str | None = None,
) -> TestUse:
    """Adds a line to `folder`/test-uses.jsonl and to the machine's ledger; returns how many uses there are by then.

    Parameters
    ----------
    folder
        A bundle's sidecar, or a run.
    subject, data_sha256
        Digests of the bundle (or run) and of the split manifest.
    known
        Ids of uses of that split that came along with the bundle.
    use
        Where one command evaluates several bundles, the id that they share; None: a new one.

    Raises
    ------
    DataError
        The line can't be written. Test images are not used then.
    """
    path, own = folder / LEDGER, use or new_use()
    line = {
        "schema": SCHEMA,
        "id": own,
        "created_utc": now_utc(),
        "verb": verb,
        "subject": subject,
        "data_sha256": data_sha256,
        "images": images,
    }
    with ExitStack() as stack:
        files = [file for file in (_machines_ledger(stack),) if file is not None]
        try:
            files.append(_locked(path, stack))
            there = [_uses_in(file, data_sha256) for file in files]
            uses = {*known, own}.union(*there)
            for file, ids in zip(files, there, strict=True):
                _append(file, {**line, "known": sorted(uses - ids - {own})})
        except OSError as error:
            raise DataError(
                f"{path}: this use of test images can't be recorded ({error.strerror}); evaluate a copy that can be "
                "written beside, or --split val"
            ) from error
    return TestUse(images, len(uses), str(path))


def record_test_result(folder: Path, figure: MainFigure, *, subject: str, images: int, data: str) -> None:
    """Keeps a top-1 or mAP on test images beside the bundle, for `edgeclf runs`. Raises DataError where it can't."""
    line = {"schema": SCHEMA, "subject": subject, _NAMES[figure.name]: figure.value, "images": images, "data": data}
    path = folder / RESULTS
    try:
        with path.open("ab") as file:
            file.write(json.dumps(line).encode() + b"\n")
    except OSError as error:
        raise DataError(f"{path}: can't be written ({error.strerror})") from error


def find_test_result(folder: Path, subject: str) -> tuple[float, str] | None:
    """Top-1 or mAP of the bundle with this digest, and of which images; None where none was kept, or can't be read."""
    try:
        lines = [parse_json(line) for line in (folder / RESULTS).read_text(encoding="utf-8").splitlines()]
        found = [line for line in lines if line["subject"] == subject]
        if not found:
            return None
        value = next(found[-1][name] for name in _NAMES.values() if name in found[-1])
        return float(value), f"{found[-1]['images']} test images of {found[-1]['data']}"
    except (OSError, ValueError, KeyError, TypeError, StopIteration):
        return None


def known_uses(folder: Path, data_sha256: str) -> tuple[str, ...]:
    """Ids of the uses of a split that the ledgers of a folder and of this machine hold, in order."""
    found: set[str] = set()
    for path in (folder / LEDGER, machine_ledger()):
        try:
            found |= set(_ids(path.read_bytes(), data_sha256))
        except OSError:
            continue
    return tuple(sorted(found))


def carried_uses(manifest: Manifest, data_sha256: str) -> tuple[str, ...]:
    """Ids of the uses of a split that a bundle brings along."""
    provenance = manifest.provenance
    return provenance.test_uses if provenance.data_sha256 == data_sha256 else ()


def machine_ledger() -> Path:
    """Where this machine's uses of all splits are kept."""
    return state_folder() / LEDGER


def _machines_ledger(stack: ExitStack) -> BinaryIO | None:
    """None where it can't be written: a container without a home, say. The line beside the bundle has to do then."""
    try:
        return _locked(machine_ledger(), stack)
    except (OSError, RuntimeError):  # RuntimeError: there is no home
        return None


def _locked(path: Path, stack: ExitStack) -> BinaryIO:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = stack.enter_context(path.open("a+b"))
    wait_for(file)
    return file


def _uses_in(file: BinaryIO, data_sha256: str) -> set[str]:
    file.seek(0)
    return set(_ids(file.read(), data_sha256))


def _append(file: BinaryIO, line: dict[str, object]) -> None:
    """Adds a line at the end; what a writer left that was stopped half-way stays a line of its own."""
    if end := file.seek(0, os.SEEK_END):
        file.seek(end - 1)
        if file.read() != b"\n":
            file.write(b"\n")
    file.write(json.dumps(line).encode() + b"\n")
    file.flush()
    os.fsync(file.fileno())


def _ids(ledger: bytes, data_sha256: str) -> Iterator[str]:
    """The id of each use of the split, and those that it knew of; a line that can't be read counts as one."""
    for text in filter(None, (line.strip() for line in ledger.splitlines())):
        try:
            line = parse_json(text)
            if line["data_sha256"] == data_sha256:
                yield str(line.get("id") or _hash(text))  # lines of earlier versions have no id
                yield from map(str, line.get("known", ()))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            yield _hash(text)


def _hash(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()[:12]
