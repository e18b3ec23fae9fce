"""Finds what is wrong with a data set: every image is decoded once, and its pixels are compared with all others'."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeclf.data.bit_depth import DeepImages, deep_images, highest_stored
from edgeclf.data.kept_hashes import Entry, kept_hashes
from edgeclf.data.likeness import find_alike, likeness_of
from edgeclf.data.several_labels import SeveralLabels
from edgeclf.data.split import read_source as read_images
from edgeclf_runtime.errors import ImageError
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.images.decode import Decoded, decode
from edgeclf_runtime.images.labelled import CHANGED, LabelledImage
from edgeclf_runtime.images.likeness import Likeness, describe
from edgeclf_runtime.images.limits import Limits
from edgeclf_runtime.images.memory_budget import BUDGET
from edgeclf_runtime.images.sources import read_source
from edgeclf_runtime.progress import SILENT, Progress


@dataclass(frozen=True, slots=True)
class Pair:
    """Two images, the earlier split first; `bits` (of 63) that differ and `correlation` measure how alike they are."""

    first: LabelledImage
    second: LabelledImage
    same_pixels: bool = True
    bits: int = 0
    correlation: float = 1.0
    mirrored: bool = False

    @property
    def crosses(self) -> bool:
        """True where the two lie in different splits."""
        return self.first.split != self.second.split

    @property
    def disagrees(self) -> bool:
        """True where the two have different labels."""
        return set(self.first.labels or ()) != set(self.second.labels or ())


@dataclass(frozen=True, slots=True)
class Remark:
    """A file, and what is wrong or unusual about it."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check found. Copies have the same pixels, look-alikes nearly; a copy is no look-alike."""

    data: DataSplit
    unreadable: tuple[Remark, ...]
    changed: tuple[Remark, ...]
    copies: tuple[tuple[LabelledImage, ...], ...]
    alike: tuple[Pair, ...]
    alike_cut: bool
    odd: tuple[Remark, ...]
    deep: DeepImages

    @property
    def leaks(self) -> tuple[Pair, ...]:
        """Copies that lie in different splits."""
        return tuple(pair for pair in self._copied() if pair.crosses)

    @property
    def conflicts(self) -> tuple[Pair, ...]:
        """Copies with different labels."""
        return tuple(pair for pair in self._copied() if pair.disagrees)

    def _copied(self) -> list[Pair]:
        return [Pair(copies[0], image) for copies in self.copies for image in copies[1:]]


@dataclass(frozen=True, slots=True)
class _Summary:
    sha256: str  # of the file; empty: it can't be read
    digest: bytes = b""  # of the pixels
    size_px: tuple[int, int] = (0, 0)  # width, height
    likeness: Likeness | None = None
    notes: tuple[str, ...] = ()
    error: str | None = None
    highest_stored: int | None = None

    def entry(self) -> Entry | None:
        """What is kept between commands: no pixels, not even small grey ones; nothing of an image with an error."""
        if self.likeness is None:
            return None
        measured = (self.digest.hex(), self.size_px, self.likeness.bits, self.likeness.flat, self.notes)
        return Entry(self.sha256, json.dumps([*measured, self.highest_stored]))

    @classmethod
    def known(cls, entry: Entry) -> _Summary | None:
        """What an entry says; None: the image was hashed alone."""
        if not entry.measured:
            return None
        digest, (width, height), bits, flat, notes, highest = json.loads(entry.measured)
        likeness = Likeness(bits, b"", flat)
        return cls(entry.sha256, bytes.fromhex(digest), (width, height), likeness, tuple(notes), None, highest)


_ORDER = {"train": 0, "val": 1, "test": 2, None: 3}
_MOST_ASPECT = 4.0
_SIZE_FACTOR = 4.0


def check_source(
    source: Path, *, several_labels: SeveralLabels = "known", rehash: bool = False, progress: Progress = SILENT
) -> Checked:
    """Checks a folder, a CSV or a split manifest; of a manifest also whether its files are still what they were.

    `rehash`: all files are read; else only those that have changed since an earlier check.
    """
    data = read_images(source, several_labels=several_labels, rehash=rehash, progress=progress)
    return check_dataset(data, made_before=source.suffix.lower() == ".json", rehash=rehash, progress=progress)


def check_dataset(
    data: DataSplit, *, made_before: bool = False, rehash: bool = False, progress: Progress = SILENT
) -> Checked:
    """Decodes every image with the runtime's decoder and compares their pixels. A bad image is reported, not raised.

    `made_before`: the files were hashed at another time, and may have changed since.
    """
    images = data.images
    with kept_hashes(data.root, progress, rehash=rehash) as kept:
        found = kept.through(images, _summarise, entry_of=_Summary.entry, known=_Summary.known)
        summaries = list(progress.track(found, len(images), "decode"))
    names = [image.name for image in images]
    changed = tuple(
        Remark(image.name, CHANGED)
        for image, summary in zip(images, summaries, strict=True)
        if made_before and summary.sha256 not in ("", image.sha256)
    )
    unreadable = tuple(
        Remark(name, summary.error) for name, summary in zip(names, summaries, strict=True) if summary.error
    )
    by_pixels: dict[bytes, list[int]] = defaultdict(list)
    for index, summary in enumerate(summaries):
        if summary.error is None:
            by_pixels[summary.digest].append(index)
    copies = tuple(_in_order([images[i] for i in same]) for same in by_pixels.values() if len(same) > 1)
    alike, cut = _find_alike([same[0] for same in by_pixels.values()], summaries, images)
    return Checked(
        data,
        unreadable,
        changed,
        copies,
        alike,
        cut,
        _odd(names, summaries),
        deep_images(summary.highest_stored for summary in summaries),
    )


def _summarise(image: LabelledImage) -> _Summary:
    sha256 = ""
    try:
        content = read_source(image.path, Limits())
        sha256 = hashlib.sha256(content).hexdigest()
        with BUDGET.share() as reserve:
            return _describe(sha256, decode(content, reserve=reserve), highest_stored(content))
    except ImageError as error:
        return _Summary(sha256, error=str(error))


def _describe(sha256: str, decoded: Decoded, highest: int | None) -> _Summary:
    image = decoded.image
    digest = hashlib.blake2b(repr(image.size).encode(), digest_size=16)
    digest.update(image.tobytes())
    return _Summary(sha256, digest.digest(), image.size, describe(image), decoded.notes, highest_stored=highest)


def _in_order(images: Sequence[LabelledImage]) -> tuple[LabelledImage, ...]:
    return tuple(sorted(images, key=lambda image: (_ORDER[image.split], image.name)))


def _find_alike(
    indices: list[int], summaries: list[_Summary], images: Sequence[LabelledImage]
) -> tuple[tuple[Pair, ...], bool]:
    """Pairs of look-alikes among images that all have different pixels."""
    found, cut = find_alike(
        [likeness for i in indices if (likeness := summaries[i].likeness) is not None],
        lambda place: likeness_of(images[indices[place]].path),
    )
    pairs = []
    for each in found:
        first, second = _in_order([images[indices[each.first]], images[indices[each.second]]])
        pairs.append(Pair(first, second, False, each.bits, each.correlation, each.mirrored))
    return tuple(pairs), cut


def _odd(names: list[str], summaries: list[_Summary]) -> tuple[Remark, ...]:
    """Images of odd shape or size compared with the rest, and those of which the decoder had to leave something out."""
    sides = sorted(max(summary.size_px) for summary in summaries if summary.error is None)
    if not sides:
        return ()
    typical = sides[len(sides) // 2]
    remarks = []
    for name, summary in zip(names, summaries, strict=True):
        width, height = summary.size_px
        texts = list(summary.notes)
        if summary.error is None and max(width, height) > _MOST_ASPECT * min(width, height):
            texts.append(f"{width}x{height} is longer than {_MOST_ASPECT:g}:1; a centre crop shows a small part of it")
        if summary.error is None and max(width, height) * _SIZE_FACTOR < typical:
            texts.append(f"{width}x{height} is small where {typical} px is the median of the longer sides")
        remarks += [Remark(name, text) for text in texts]
    return tuple(remarks)
