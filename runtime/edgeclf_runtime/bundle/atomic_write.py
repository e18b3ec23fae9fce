"""Artefacts that appear whole or not at all: written beside their final path, synced, then renamed in one step."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from edgeclf_runtime.bundle.manifest import FileEntry, Manifest
from edgeclf_runtime.bundle.partial_folder import partial_folder
from edgeclf_runtime.bundle.proof import Proof
from edgeclf_runtime.errors import DataError, UsageError
from edgeclf_runtime.hashing import hash_file

MANIFEST = "manifest.json"
_AT_CWD, _NO_REPLACE, _EXCHANGE = -100, 1, 2  # AT_FDCWD, RENAME_NOREPLACE, RENAME_EXCHANGE: linux/fs.h


@contextmanager
def writing(destination: Path, *, force: bool = False) -> Iterator[Path]:
    """A path to write a file or folder at; when the block ends well it becomes `destination` atomically.

    The path lies in a hidden folder beside the destination (the same file system) and is gone if the block raises. What
    a killed process left of the same destination is removed first.

    Raises
    ------
    UsageError
        `destination` exists and `force` is False.
    DataError
        The folder can't be written, or the disk is full.
    """
    if not force and os.path.lexists(destination):
        raise UsageError(f"{destination} exists; give --force to replace it, or another --output")
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with partial_folder(destination) as folder:
            draft = folder / destination.name
            yield draft
            _sync(draft)
            _publish(draft, destination, force)
            _sync_entry(destination.parent)
    except OSError as error:
        about = f" ({error.filename})" if isinstance(error.filename, str) else ""
        raise DataError(f"{destination} can't be written: {error.strerror or error}{about}") from error


def set_aside(draft: Path, destination: Path) -> Path:
    """Moves a bundle that failed its proof to NAME.failed beside where it was meant to go; the new place."""
    aside = destination.with_name(f"{destination.name}.failed")
    with writing(aside, force=True) as kept:
        shutil.move(draft, kept)
    return aside


def seal(folder: Path, manifest: Manifest) -> None:
    """Hashes every file under `folder` into `manifest.files` and writes `manifest.json` last."""
    (folder / MANIFEST).write_bytes(replace(manifest, files=_entries(folder)).to_bytes())


def seal_proven(folder: Path, manifest: Manifest, proof: Proof) -> Manifest:
    """As `seal`, with the proof in the manifest and bound to it: it does not count for one that is changed later."""
    built_on = proof.machine if manifest.state == "built" else None
    manifest = replace(manifest, files=_entries(folder), built_on=built_on)
    manifest = replace(manifest, proof=replace(proof, subject=manifest.subject))
    (folder / MANIFEST).write_bytes(manifest.to_bytes())
    return manifest


def _entries(folder: Path) -> dict[str, FileEntry]:
    return {
        path.relative_to(folder).as_posix(): FileEntry(hash_file(path), path.stat().st_size)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / MANIFEST
    }


def _sync(path: Path) -> None:
    for item in [path, *path.rglob("*")] if path.is_dir() else [path]:
        item.chmod(0o755 if item.is_dir() else 0o644)  # mkdtemp and tempfile make private ones
        _sync_entry(item)


def _sync_entry(path: Path) -> None:
    """Windows opens no folders, and syncs files only that are open for writing."""
    if path.is_dir() and not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _publish(draft: Path, destination: Path, force: bool) -> None:
    """Renames without ever taking away what is there: where that may be replaced, the two change places in one step."""
    try:
        _rename_or_exchange(draft, destination, force and os.path.lexists(destination))
    except FileExistsError:
        if not force:
            raise
        _rename_or_exchange(draft, destination, replaces=True)  # another process was faster, and may be replaced


def _rename_or_exchange(draft: Path, destination: Path, replaces: bool) -> None:
    if replaces and destination.is_file() and draft.is_file():
        os.replace(draft, destination)
    elif _rename(draft, destination, _EXCHANGE if replaces else _NO_REPLACE):
        return
    elif replaces:
        os.replace(destination, draft.with_name("replaced"))
        os.replace(draft, destination)
    elif os.path.lexists(destination):
        raise FileExistsError(errno.EEXIST, "it appeared meanwhile", str(destination))
    else:
        os.replace(draft, destination)


def _rename(source: Path, destination: Path, flags: int) -> bool:
    """False where the system (other than Linux) or the file system (overlay on old kernels) can't do that."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        renameat2 = libc.renameat2
    except (TypeError, AttributeError):  # Windows wants a name; macOS and old C libraries have no such function
        return False
    if renameat2(_AT_CWD, os.fsencode(source), _AT_CWD, os.fsencode(destination), flags) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS):
        return False
    raise OSError(code, os.strerror(code))
