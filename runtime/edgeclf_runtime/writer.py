"""Artefacts that appear whole or not at all: written beside their final path, synced, then renamed in one step."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from edgeclf_runtime.errors import DataError, UsageError
from edgeclf_runtime.manifest import FileEntry, Manifest

MANIFEST = "manifest.json"


@contextmanager
def writing(destination: Path, *, force: bool = False) -> Iterator[Path]:
    """A path to write a file or folder at; when the block ends well it becomes `destination` atomically.

    The path lies in a hidden folder beside the destination (the same file system) and is gone if the block raises.

    Raises
    ------
    UsageError
        `destination` exists and `force` is False.
    DataError
        The folder can't be written, or the disk is full.
    """
    if not force and os.path.lexists(destination):
        raise UsageError(f"{destination} exists; give --force to replace it, or another --output")
    workshop = None
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        workshop = Path(tempfile.mkdtemp(prefix=f".{destination.name}.partial-", dir=destination.parent))
        draft = workshop / destination.name
        yield draft
        _sync(draft)
        _publish(draft, destination)
        _sync_folder(destination.parent)
    except OSError as error:
        raise DataError(f"{destination} can't be written: {error.strerror or error}") from error
    finally:
        if workshop is not None:
            shutil.rmtree(workshop, ignore_errors=True)


def seal(folder: Path, manifest: Manifest) -> None:
    """Hashes every file under `folder` into `manifest.files` and writes `manifest.json` last."""
    files = {
        path.relative_to(folder).as_posix(): FileEntry(hash_file(path), path.stat().st_size)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
    (folder / MANIFEST).write_bytes(replace(manifest, files=files).to_bytes())


def hash_file(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
        return digest.hexdigest()


def _sync(path: Path) -> None:
    paths = sorted(path.rglob("*")) if path.is_dir() else [path]
    for item in paths:
        if item.is_file():
            item.chmod(0o644)
            with item.open("rb") as file:
                os.fsync(file.fileno())
    if path.is_dir():
        path.chmod(0o755)
        _sync_folder(path)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _publish(draft: Path, destination: Path) -> None:
    """Renames; where the destination exists the two change places in one system call, so that no moment lacks it."""
    if not os.path.lexists(destination) or (destination.is_file() and draft.is_file()):
        os.replace(draft, destination)
        return
    libc = ctypes.CDLL(None, use_errno=True)
    at_cwd, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE: linux/fs.h
    status = libc.renameat2(at_cwd, os.fsencode(draft), at_cwd, os.fsencode(destination), exchange)
    if status == 0:
        return
    code = ctypes.get_errno()
    if code not in (errno.EINVAL, errno.ENOSYS):  # file systems without the exchange, such as overlay on old kernels
        raise OSError(code, os.strerror(code))
    os.replace(destination, draft.with_name("replaced"))
    os.replace(draft, destination)
