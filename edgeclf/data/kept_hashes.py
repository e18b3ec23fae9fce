"""What was measured of image files, kept between commands: a file that has not changed since is not read again.

One SQLite file for each folder of images, under `image-hashes` in edgeclf's state folder. A file counts as unchanged
where its size and its times (of its content, and of its entry in the folder) are the same; files of the last seconds
are never kept, since another change might leave those times as they are. Where the state folder can't be used (there
is no home, the disk is full or read-only, another process holds the file) everything is read, as if nothing was kept.
"""

from __future__ import annotations

import hashlib
import os
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from PIL import __version__ as pillow_version

from edgeclf_runtime.images.labelled import LabelledImage
from edgeclf_runtime.images.threads import in_threads
from edgeclf_runtime.machine.facts import package_version
from edgeclf_runtime.machine.state_folder import state_folder
from edgeclf_runtime.progress import Progress

if TYPE_CHECKING:
    import sqlite3

FOLDER = "image-hashes"
_SCHEMA = 1  # to be raised where what is measured of an image changes
_BLOCK = 500  # images that are looked up, and kept, at once; SQLite takes no more than 999 names
_SETTLED_NS = 2_000_000_000  # no file system counts time in larger steps
_BUSY_S = 5.0
_TABLE = (
    "CREATE TABLE IF NOT EXISTS files (name BLOB PRIMARY KEY, size INTEGER, changed_ns INTEGER, entry_ns INTEGER, "
    "sha256 TEXT, measured TEXT) WITHOUT ROWID"
)

T = TypeVar("T")
Stamp = tuple[int, int, int]


class Entry(NamedTuple):
    """What is kept of a file: the SHA-256 of its bytes, and what its pixels gave, as text; empty: not decoded yet."""

    sha256: str
    measured: str = ""


class KeptHashes:
    """What is kept of the files under one folder. Without a `database`: nothing, and nothing is added."""

    def __init__(self, database: sqlite3.Connection | None = None) -> None:
        self._database = database
        self._asked = self._unchanged = 0

    def through(
        self,
        images: Sequence[LabelledImage],
        work: Callable[[LabelledImage], T],
        *,
        entry_of: Callable[[T], Entry | None],
        known: Callable[[Entry], T | None],
    ) -> Iterator[T]:
        """For each image in order, what is known of it or what `work` makes of it in a thread, which is then kept.

        Parameters
        ----------
        entry_of
            What to keep of a result; None: nothing, such as of an error.
        known
            The result that an entry stands for; None: it says too little.
        """
        for start in range(0, len(images), _BLOCK):
            block = images[start : start + _BLOCK]
            stamps = [_stamp(image.path) for image in block]  # before they are read: a later change shows
            entries = self._find(block, stamps)
            results = [None if entry is None else _known(entry, known) for entry in entries]
            missing = [place for place, result in enumerate(results) if result is None]
            made = list(in_threads(work, [block[place] for place in missing])) if missing else []
            self._keep(
                (block[place].name, stamps[place], entry_of(each)) for place, each in zip(missing, made, strict=True)
            )
            self._asked, self._unchanged = self._asked + len(block), self._unchanged + len(block) - len(missing)
            fresh = iter(made)
            yield from (next(fresh) if result is None else result for result in results)

    def report(self, progress: Progress) -> None:
        """A note where hashes of an earlier command were taken."""
        if self._unchanged:
            progress.note(
                f"hashes of {self._unchanged:,} of {self._asked:,} images are those of an earlier command, as size and "
                "time of change are the same; `edgeclf data check --rehash` reads all"
            )

    def _find(self, images: Sequence[LabelledImage], stamps: Sequence[Stamp | None]) -> list[Entry | None]:
        names = [os.fsencode(image.name) for image in images]
        query = f"SELECT * FROM files WHERE name IN ({','.join('?' * len(names))})"
        rows = {row[0]: (row[1:4], Entry(*row[4:])) for row in self._do(query, names)}
        found = [rows.get(name, (None, None)) for name in names]
        return [
            entry if stamp is not None and kept == stamp else None
            for (kept, entry), stamp in zip(found, stamps, strict=True)
        ]

    def _keep(self, found: Iterator[tuple[str, Stamp | None, Entry | None]]) -> None:
        rows = [
            (os.fsencode(name), *stamp, *entry)
            for name, stamp, entry in found
            if stamp is not None and entry is not None
        ]
        if rows:
            self._do("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?)", rows, many=True)

    def _do(self, statement: str, values: Sequence[Any], *, many: bool = False) -> list[Any]:
        """The rows that a statement gives. After the first error nothing is kept any more."""
        if self._database is None:
            return []
        import sqlite3

        try:
            with self._database:
                if many:
                    return list(self._database.executemany(statement, values))
                return list(self._database.execute(statement, values))
        except (sqlite3.Error, OSError):
            self.close()
            return []

    def close(self) -> None:
        if self._database is not None:
            self._database.close()
        self._database = None


@contextmanager
def kept_hashes(root: Path, progress: Progress, *, rehash: bool = False) -> Iterator[KeptHashes]:
    """What is kept of the images under `root`, reported at the end. `rehash`: all are read, and kept anew."""
    kept = KeptHashes(_opened(root, anew=rehash))
    try:
        yield kept
        kept.report(progress)
    finally:
        kept.close()


def _known(entry: Entry, known: Callable[[Entry], T | None]) -> T | None:
    """None, too, for an entry that somebody has written over."""
    try:
        return known(entry)
    except (ValueError, TypeError):
        return None


def _stamp(path: Path) -> Stamp | None:
    """None: it can't be seen, or has changed so lately that it may change again in the same tick of its clock."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    if time.time_ns() - max(found.st_mtime_ns, found.st_ctime_ns) < _SETTLED_NS:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _opened(root: Path, *, anew: bool) -> sqlite3.Connection | None:
    """The folder's database, emptied where it is of other versions or to be made `anew`; None: it can't be used."""
    try:
        import sqlite3
    except ImportError:  # Python was built without it
        return None
    try:
        path = state_folder() / FOLDER / f"{hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:24]}.sqlite3"
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # names of files are nobody else's business
        try:
            return _connected(path, anew=anew)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):  # busy, full, read-only
                return None
            path.unlink()  # damaged
            return _connected(path, anew=anew)
    except (sqlite3.Error, OSError, RuntimeError):  # RuntimeError: there is no home
        return None


def _connected(path: Path, *, anew: bool) -> sqlite3.Connection:
    import sqlite3

    database = sqlite3.connect(path, timeout=_BUSY_S, check_same_thread=False)
    made_by = (
        zlib.crc32(f"{_SCHEMA} {package_version('edgeclf')} {pillow_version} {package_version('pi-heif')}".encode())
        >> 1
    )
    try:
        with database:
            if anew or database.execute("PRAGMA user_version").fetchone()[0] != made_by:
                database.execute("DROP TABLE IF EXISTS files")
                database.execute(f"PRAGMA user_version = {made_by}")
            database.execute(_TABLE)
    except sqlite3.Error:
        database.close()
        raise
    return database
