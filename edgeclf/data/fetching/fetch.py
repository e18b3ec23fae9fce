"""Public data sets as image folders: some come with installed packages, the others over the network."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from edgeclf.data.fetching.fetched import DownloadFailed, Fetched
from edgeclf_runtime.bundle.atomic_write import writing
from edgeclf_runtime.errors import DataError, UsageError
from edgeclf_runtime.progress import SILENT, Progress

TABLE = "images.csv"


@dataclass(frozen=True, slots=True)
class PublicSet:
    """A data set by its name: what it is, and what yields its images. `load` gets a folder for downloads."""

    name: str
    about: str
    embedded: bool
    load: Callable[[Path], Iterable[Fetched]]


def public_sets() -> tuple[PublicSet, ...]:
    """Every data set that `fetch_dataset` knows, the embedded ones first."""
    from edgeclf.data.fetching.collages import load_collages
    from edgeclf.data.fetching.downloads import DOWNLOADS
    from edgeclf.data.fetching.embedded import load_digits, load_photo_patches

    return (
        PublicSet("digits", "1,797 scans of digits, 8x8 px, 10 classes (scikit-learn)", True, load_digits),
        PublicSet(
            "photo-patches",
            "grey 48 px patches of 16 photographs (scikit-image, scikit-learn): which photograph is it from?",
            True,
            load_photo_patches,
        ),
        PublicSet(
            "collages",
            "two, one or none of these patches put together: several labels an image, made up for trials",
            True,
            load_collages,
        ),
        *(PublicSet(name, about, False, load) for name, (about, load) in DOWNLOADS.items()),
    )


def fetch_dataset(name: str, folder: Path, *, force: bool = False, progress: Progress = SILENT) -> int:
    """Writes a public data set as `[SPLIT/]CLASS/IMAGE` into the new `folder`; returns the number of images.

    Where it has groups, `images.csv` in the folder states them; where an image may have several labels, they stand
    there alone, and the images lie in `[SPLIT/]IMAGE`. The folder appears when all of it is there.

    Raises
    ------
    UsageError
        No such data set, or the folder exists.
    DataError
        It can't be downloaded.
    """
    known = {each.name: each for each in public_sets()}
    if name not in known:
        close = get_close_matches(name.lower(), known, n=1)
        advice = f"did you mean {close[0]}?" if close else f"choose one of {', '.join(known)}"
        raise UsageError(f"no data set {name!r}; {advice}")
    with writing(folder, force=force) as draft:
        draft.mkdir()
        downloads = draft.parent / "downloads"  # vanishes with the draft's folder
        downloads.mkdir()
        try:
            rows, several = [], False
            for fetched in progress.track(known[name].load(downloads), None, "write"):
                several = isinstance(fetched.label, tuple)
                rows.append(_store(fetched, draft))
        except DownloadFailed as error:
            raise DataError(
                f"{name} can't be downloaded ({error}); try again with a network, or take digits or photo-patches, "
                "which need none"
            ) from error
        if any(row[3] for row in rows):
            with (draft / TABLE).open("w", encoding="utf-8", newline="") as file:
                heading = ("path", "labels" if several else "label", "split", "group")
                csv.writer(file, lineterminator="\n").writerows([heading, *rows])
    return len(rows)


def _store(fetched: Fetched, folder: Path) -> tuple[str, str, str, str]:
    """Writes one image; returns its row for the CSV."""
    labels = (fetched.label,) if isinstance(fetched.label, str) else fetched.label
    label = "|".join(each.replace("/", "-") for each in labels)  # a class named T-shirt/top
    place = folder / (fetched.split or "") / (label if isinstance(fetched.label, str) else "")
    place.mkdir(parents=True, exist_ok=True)
    if isinstance(fetched.image, Path):
        path = place / f"{fetched.name}{fetched.image.suffix.lower()}"
        fetched.image.replace(path)
    else:
        path = place / f"{fetched.name}.png"
        fetched.image.save(path)
    return path.relative_to(folder).as_posix(), label, fetched.split or "", fetched.group or ""
