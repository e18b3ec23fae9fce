"""The ledger of test images: each evaluation that looks at them is written down before it looks."""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path

from edgeclf_runtime.errors import DataError
from edgeclf_runtime.machine import now_utc

LEDGER = "test-uses.jsonl"  # not .json: that is what proofs are called in a bundle's sidecar
SCHEMA = 1


@dataclass(frozen=True, slots=True)
class TestUse:
    """How many test images are looked at, and the how-manieth look at this test split it is, counted from 1."""

    __test__ = False  # pytest: no test, whatever the name says

    images: int
    number: int
    recorded_in: str

    def __str__(self) -> str:
        return f"test images used: {self.images}, evaluation no. {self.number}"


def record_test_use(folder: Path, *, subject: str, data_sha256: str, images: int, verb: str) -> TestUse:
    """Adds a line to `folder`/test-uses.jsonl and returns the count of lines for the same data.

    Parameters
    ----------
    folder
        A bundle's sidecar, or a run. A bundle that is made again under the same name keeps its count: it is the test
        split that wears out, not the bundle.
    subject, data_sha256
        Digests of the bundle (or run) and of the split manifest.

    Raises
    ------
    DataError
        The line can't be written. Test images are not looked at then.
    """
    path = folder / LEDGER
    line = {
        "schema": SCHEMA,
        "created_utc": now_utc(),
        "verb": verb,
        "subject": subject,
        "data_sha256": data_sha256,
        "images": images,
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            earlier = file.read()
            if earlier and not earlier.endswith(b"\n"):  # a writer was stopped half-way: it had begun to look
                file.write(b"\n")
            file.write(json.dumps(line).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise DataError(
            f"{path}: this use of test images can't be recorded ({error.strerror}); evaluate a copy that can be "
            "written beside, or --split val"
        ) from error
    uses = sum(_is_about(data_sha256, text) for text in earlier.splitlines() if text.strip())
    return TestUse(images, uses + 1, str(path))


def _is_about(data_sha256: str, text: bytes) -> bool:
    """Whether a line counts for these data; one that can't be read does."""
    try:
        line = json.loads(text)
        return bool(line["data_sha256"] == data_sha256)
    except (ValueError, KeyError, TypeError, RecursionError):
        return True
