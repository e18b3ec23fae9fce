"""Finds images that can't be used before a training starts or goes on; its processes share the work."""

from __future__ import annotations

from edgeclf.data.split import split_faults
from edgeclf.data.usable import (
    Unreadable,
    ValueRange,
    find_unusable,
    leave_out,
    left_out_sentence,
    refuse_unusable,
)
from edgeclf.training.distributed import Processes
from edgeclf_runtime.errors import DataError
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.progress import SILENT, Progress


def leave_out_unusable(
    data: DataSplit,
    value_range: ValueRange | None = None,
    *,
    strict: bool | None = None,
    known: tuple[Unreadable, ...] | None = None,
    processes: Processes = Processes(),
    progress: Progress = SILENT,
) -> tuple[DataSplit, tuple[Unreadable, ...]]:
    """The split without images that can't be used, and those images; the same in all processes.

    Images of all splits are read, so that no later evaluation stops at one; nothing else is done with test images.

    Parameters
    ----------
    strict
        Raise DataError instead; None: the command that reads them has no option for that.
    known
        Of a training that goes on, the images that were left out before: they stay so. None: it begins.
    """
    there = leave_out(data, known or ())
    own = there.images[processes.share(len(there.images))]
    bad = {each.path: each for each in find_unusable(own, value_range, progress=progress)}
    marks = processes.totals(*(float(image.name in bad) for image in there.images))
    elsewhere = "another process can't read it"
    found = tuple(
        bad.get(image.name, Unreadable(image.name, elsewhere))
        for image, mark in zip(there.images, marks, strict=True)
        if mark
    )
    if strict:
        refuse_unusable(there, found)
    usable = leave_out(there, found)
    if found:
        again = (
            "; it goes on without them, so the result will not be bit-identical"
            if known is not None
            else "; they are left out"
        )
        hint = "" if strict is None else " (--strict stops)"
        progress.warn(f"{left_out_sentence(found, len(there.images))}{again}{hint}")
    if faults := split_faults(usable.images):
        raise DataError(f"{data.root}: {faults[0]}")
    return usable, (*(known or ()), *found)
