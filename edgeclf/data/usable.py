"""Which images of a split can be used: they are there, are those that the split was made with, and can be decoded."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from edgeclf.data.sources import some
from edgeclf.data.split import Item, SplitManifest
from edgeclf.data.threads import in_threads
from edgeclf_runtime.errors import DataError, ImageError
from edgeclf_runtime.images.decode import decode
from edgeclf_runtime.images.memory_budget import BUDGET
from edgeclf_runtime.progress import SILENT, Progress

ValueRange = tuple[float, float]
_MOST_LEFT_OUT = 0.5  # beyond it the folder is another, or the value range is missing, and a rest proves nothing


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An image that can't be used, and why; the path is relative to the data's root."""

    path: str
    error: str


def find_unusable(
    data: SplitManifest,
    items: Sequence[Item],
    value_range: ValueRange | None = None,
    *,
    progress: Progress = SILENT,
) -> tuple[Unreadable, ...]:
    """Those of the items that can't be used. Each is read and decoded once, in threads."""
    faults = progress.track(in_threads(lambda item: fault_of(data, item, value_range), items), len(items), "read")
    return tuple(Unreadable(item.path, fault) for item, fault in zip(items, faults, strict=True) if fault is not None)


def fault_of(data: SplitManifest, item: Item, value_range: ValueRange | None = None) -> str | None:
    """Why an image can't be used; None: it can."""
    try:
        content = data.path_of(item).read_bytes()
    except FileNotFoundError:
        return "missing: it was there when the split was made"
    except OSError as error:
        return error.strerror or str(error)
    if hashlib.sha256(content).hexdigest() != item.sha256:
        return "changed since the split was made"
    try:
        with BUDGET.share() as reserve:
            decode(content, value_range=value_range, reserve=reserve)
    except ImageError as error:
        return str(error)
    return None


def leave_out(data: SplitManifest, unusable: Collection[Unreadable]) -> SplitManifest:
    """The manifest without these images. Raises DataError where they are more than half of all."""
    if len(unusable) > _MOST_LEFT_OUT * len(data.items):
        raise DataError(f"{data.root}: {left_out_sentence(unusable, len(data.items))}")
    paths = {each.path for each in unusable}
    return replace(data, items=tuple(item for item in data.items if item.path not in paths))


def refuse_unusable(data: SplitManifest, unusable: Collection[Unreadable]) -> None:
    """What --strict does: raises DataError where there are any."""
    if unusable:
        sentence = left_out_sentence(unusable, len(data.items))
        raise DataError(f"{data.root}: {sentence}; without --strict they are left out")


def left_out_sentence(unusable: Iterable[Unreadable], images: int) -> str:
    """How many of `images` can't be used, and the first few with the reason."""
    named = [f"{each.path} ({each.error})" for each in unusable]
    return f"{len(named):,} of {images:,} images can't be used: {some(named, '; ')}"
