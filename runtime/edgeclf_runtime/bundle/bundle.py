"""A bundle on disk, as a folder or packed in one tar: its manifest, and its files only after their hash was right."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.bundle.atomic_write import MANIFEST, writing
from edgeclf_runtime.bundle.manifest import FileEntry, Manifest, parse_manifest
from edgeclf_runtime.errors import BundleError, UsageError
from edgeclf_runtime.portable_paths import unportable

if TYPE_CHECKING:
    import tarfile

_LARGEST_MANIFEST = 64 << 20


class _Store(Protocol):
    """Where the files of a bundle lie."""

    def sizes(self) -> dict[str, int]: ...
    def read(self, path: str) -> bytes: ...


class _Folder:
    def __init__(self, root: Path) -> None:
        self._root = root

    def sizes(self) -> dict[str, int]:
        found = {}
        for directory, folders, names in os.walk(self._root):
            for name in folders + names:
                path = Path(directory, name)
                if path.is_symlink() or not (path.is_file() or path.is_dir()):
                    raise BundleError(f"{path}: a bundle holds regular files only, this is a link or a device")
            for name in names:
                path = Path(directory, name)
                found[path.relative_to(self._root).as_posix()] = path.stat().st_size
        return found

    def read(self, path: str) -> bytes:
        return (self._root / path).read_bytes()


_WEIGHTS = "weights alone are no bundle: name the run or the bundle that they belong to"
_NO_BUNDLES = {  # suffix -> what to do with such a file
    ".onnx": "`edgeclf export` makes a bundle of an ONNX file",
    **dict.fromkeys((".safetensors", ".pt", ".pth", ".ckpt"), _WEIGHTS),
}


class _Tar:
    """Reads members in place: nothing is ever unpacked, so no archive can write outside its folder."""

    def __init__(self, path: Path) -> None:
        import tarfile

        self._path = path
        self._members: dict[str, tarfile.TarInfo] = {}
        try:
            with tarfile.open(path, "r:") as archive:
                for member in archive:
                    self._add(member)
        except (
            tarfile.TarError,
            EOFError,
            ValueError,
            OverflowError,
        ) as error:  # the latter two: sizes beyond any file
            advice = _NO_BUNDLES.get(path.suffix.lower(), "copy it again")
            raise BundleError(f"{path}: not a packed bundle ({error}); {advice}") from error

    def _add(self, member: tarfile.TarInfo) -> None:
        if not member.isfile() or member.issparse():  # a sparse file's size is not that of its bytes in the archive
            raise BundleError(f"{self._path}: {member.name!r} is a link, folder or device; packed bundles hold files")
        if member.name in self._members:
            raise BundleError(f"{self._path}: {member.name!r} is there twice")
        self._members[member.name] = member

    def sizes(self) -> dict[str, int]:
        return {name: member.size for name, member in self._members.items()}

    def read(self, path: str) -> bytes:
        member = self._members[path]
        with self._path.open("rb") as file:
            file.seek(member.offset_data)
            return file.read(member.size)


class Bundle:
    """An opened bundle: its manifest, and its files once their hash was right. Made by `Bundle.open`.

    Attributes
    ----------
    path
        The folder or the packed file.
    manifest
        What the bundle is: task, labels, inputs, outputs, pixel contract, origin, proof.
    manifest_bytes
        The manifest as it lies on disk.
    digest
        SHA-256 of the manifest, which lists the hash of every other file: the bundle's identity.

    Examples
    --------
    >>> from edgeclf_runtime import Bundle
    >>> bundle = Bundle.open("bundles/scenes")
    >>> bundle.labels
    ('leaf', 'pagoda', 'sky')
    >>> bundle.manifest.pixels.crop_px  # height, width
    (8, 8)
    """

    def __init__(self, path: Path, store: _Store) -> None:
        self.path = path
        self._store, self._identity = store, _identity(path)
        sizes = store.sizes()
        if MANIFEST not in sizes:
            raise BundleError(f"{path}: no bundle, it has no {MANIFEST}")
        if sizes[MANIFEST] > _LARGEST_MANIFEST:
            raise BundleError(f"{path}: {MANIFEST} of {sizes[MANIFEST]} bytes is no manifest")
        self.manifest_bytes = store.read(MANIFEST)
        self.digest = hashlib.sha256(self.manifest_bytes).hexdigest()
        self.manifest: Manifest = parse_manifest(self.manifest_bytes, f"{path}/{MANIFEST}")
        _compare_listing(path, self.manifest.files, sizes)

    @classmethod
    def open(cls, path: str | os.PathLike[str] | Bundle) -> Bundle:
        """The bundle at `path`, a folder or a .tar; sizes are checked now, hashes when a file is read.

        Raises
        ------
        BundleError
            It is no bundle, or a file, which is named, is missing, extra or of the wrong size.
        """
        if isinstance(path, Bundle):
            return path
        location = Path(path)
        before = _identity(location)
        try:
            if location.is_dir():
                return cls(location, _Folder(location))
            if not location.exists():
                raise BundleError(f"{location}: no such bundle")
            return cls(location, _Tar(location))
        except OSError as error:
            raise BundleError(_replaced(location, before) or f"{location}: {error.strerror or error}") from error
        except BundleError as error:
            if replaced := _replaced(location, before):
                raise BundleError(replaced) from error
            raise

    @property
    def name(self) -> str:
        """The folder's name, or the packed file's without .tar."""
        return self.path.stem if self.path.suffix == ".tar" else self.path.resolve().name

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes in the order of the outputs; empty for an encoder."""
        return self.manifest.labels

    @property
    def sidecar(self) -> Path:
        """The folder beside the bundle where other machines' proofs go; outside the hashed set."""
        return self.path.resolve().parent / f"{self.name}.proofs"

    def read(self, path: str) -> bytes:
        """The bytes of one file, their SHA-256 compared with the manifest's first.

        Parameters
        ----------
        path
            As the manifest lists it, such as "golden/outputs.npy".

        Raises
        ------
        BundleError
            The manifest does not list it, or it was changed.
        """
        entry = self.manifest.files.get(path)
        if entry is None:
            raise BundleError(f"{self.path}: the manifest lists no {path!r}")
        try:
            data = self._store.read(path)
        except OSError as error:
            fault = f"{self.path}/{path}: {error.strerror or error}"
            raise BundleError(_replaced(self.path, self._identity) or fault) from error
        if hashlib.sha256(data).hexdigest() != entry.sha256:
            fault = f"{self.path}/{path}: changed since the export (SHA-256 differs); copy it again"
            raise BundleError(_replaced(self.path, self._identity) or fault)
        return data

    def read_array(self, path: str) -> NDArray[np.float32]:
        """A .npy file of the bundle as float32. Raises BundleError for one that would need pickle."""
        try:
            array = np.lib.format.read_array(io.BytesIO(self.read(path)), allow_pickle=False)
            return np.asarray(array, dtype=np.float32)
        except (ValueError, TypeError, EOFError, MemoryError, OverflowError) as error:
            raise BundleError(f"{self.path}/{path}: not a plain array ({error})") from error

    def copy_files(self, folder: Path) -> None:
        """Writes every file but the manifest into the new `folder`, hashes compared: for a bundle made of this one.

        Raises BundleError where a file was changed.
        """
        folder.mkdir()
        for path in self.manifest.files:
            data = self.read(path)
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)

    def check_all(self) -> None:
        """Reads every file once, so that a flipped byte anywhere is found. Raises BundleError."""
        for path in self.manifest.files:
            self.read(path)


def _identity(path: Path) -> tuple[int, int] | None:
    """What another file or folder of that name does not share; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _replaced(path: Path, before: tuple[int, int] | None) -> str | None:
    """Why files of `path` don't fit together though none is damaged; None where it is still the one of `before`."""
    if before is None or _identity(path) == before:
        return None
    return f"{path} was replaced or removed while it was read; run the command again"


def _compare_listing(where: Path, listed: dict[str, FileEntry], found: dict[str, int]) -> None:
    for path, entry in listed.items():
        if path not in found:
            raise BundleError(f"{where}: {path!r} is missing; copy the bundle again")
        if found[path] != entry.bytes:
            raise BundleError(
                f"{where}/{path}: {found[path]} bytes, the manifest says {entry.bytes}; copy the bundle again"
            )
    if extra := sorted(set(found) - set(listed) - {MANIFEST}):
        raise BundleError(f"{where}: {extra[0]!r} is not in the manifest; remove it from the bundle")


def pack(bundle: Bundle, destination: Path, *, force: bool = False) -> Path:
    """Writes the checked bundle as one uncompressed tar; the same bundle always gives the same bytes."""
    import tarfile

    place, folder = Path(os.path.abspath(destination)), Path(os.path.abspath(bundle.path))
    if folder == place or folder in place.parents:
        raise UsageError(f"{destination} lies in the bundle itself and would damage it; choose another place")
    if fault := unportable([destination.name]):
        raise UsageError(f"{destination} is not a file name for every system, {fault}; name another file with --output")
    if fault := unportable([MANIFEST, *bundle.manifest.files]):
        raise BundleError(f"{bundle.path} holds file names that not every system has, {fault}; export it again")
    with writing(destination, force=force) as draft, tarfile.open(draft, "w", format=tarfile.PAX_FORMAT) as archive:
        for path in [MANIFEST, *sorted(bundle.manifest.files)]:
            data = bundle.read(path) if path != MANIFEST else bundle.manifest_bytes
            member = tarfile.TarInfo(path)
            member.size, member.mode = len(data), 0o644
            archive.addfile(member, io.BytesIO(data))
    return destination
