"""Images without labels: those of a folder, or of a split's training part; each is read once before it is used."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edgeclf.data.split_file import load_split
from edgeclf.data.usable import Unreadable, ValueRange, find_unusable
from edgeclf.training.inputs.batches import TrainingImages
from edgeclf_runtime.errors import DataError, ImageError, UsageError
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.images.decode import decode, find_images
from edgeclf_runtime.images.labelled import LabelledImage
from edgeclf_runtime.images.memory_budget import BUDGET
from edgeclf_runtime.images.threads import in_threads
from edgeclf_runtime.progress import SILENT, Progress

_UNLABELLED = ("unlabelled", "labelled")  # a split file has two classes at least; every image here is of the first


@dataclass(frozen=True, slots=True)
class Unlabelled:
    """The readable images, as a split whose classes mean nothing, and the files that can't be read."""

    data: DataSplit
    broken: tuple[Unreadable, ...] = ()
    passed_over: int = 0

    @property
    def training_images(self) -> TrainingImages:
        """The images as training takes them; the labels are all 0."""
        return TrainingImages(self.data.images, np.zeros(len(self.data.images), dtype=np.intp))

    def read_again(self, value_range: ValueRange | None = None) -> Unlabelled:
        """Without the images that are gone, changed or damaged since. Raises DataError where that are all."""
        broken = find_unusable(self.data.images, value_range)
        paths = {each.path for each in broken}
        images = tuple(image for image in self.data.images if image.name not in paths)
        if not images:
            raise DataError(f"{self.data.root}: none of its images can be read, such as {broken[0].path}")
        return replace(self, data=replace(self.data, images=images), broken=(*self.broken, *broken))


def require_unlabelled(source: Path) -> None:
    """Raises UsageError for what can be neither a folder nor a split manifest: at once, before anything is read."""
    if not source.is_dir() and not (source.suffix.lower() == ".json" and source.is_file()):
        found = "a file" if os.path.lexists(source) else "nothing there"
        raise UsageError(f"{source}: wanted a folder of images or a split manifest, found {found}")


def read_unlabelled(source: Path, value_range: ValueRange | None = None, *, progress: Progress = SILENT) -> Unlabelled:
    """The images under a folder; of a split manifest (.json) the training images, so that the others stay unseen.

    Raises
    ------
    UsageError
        `source` is not there, or is neither.
    DataError
        There is no image, or none that can be read.
    """
    require_unlabelled(source)
    if source.suffix.lower() == ".json":
        split = load_split(source, several_labels="known")  # labels don't matter here
        root, passed_over = split.root, 0
        paths = [image.path for image in split.of("train")]
    else:
        root = source.resolve()
        paths, passed_over = find_images(root)
    if not paths:
        raise DataError(f"{source}: no images in it ({passed_over} other files); name the folder that holds them")
    checked = list(
        progress.track(in_threads(lambda path: _hash_readable(path, value_range), paths), len(paths), "read")
    )
    names = [path.relative_to(root).as_posix() for path in paths]
    broken = [
        Unreadable(name, str(found))
        for name, found in zip(names, checked, strict=True)
        if isinstance(found, ImageError)
    ]
    images = tuple(
        LabelledImage(root, name, _UNLABELLED[:1], found, split="train")
        for name, found in zip(names, checked, strict=True)
        if isinstance(found, str)
    )
    if not images:
        raise DataError(
            f"{source}: none of its {len(paths)} images can be read, such as {broken[0].path}: {broken[0].error}"
        )
    data = DataSplit(root=root, classes=_UNLABELLED, images=images, fractions=(1.0, 0.0, 0.0))
    return Unlabelled(data, tuple(broken), passed_over)


def _hash_readable(path: Path, value_range: ValueRange | None) -> str | ImageError:
    """SHA-256 of an image file that decodes, or what is wrong with it."""
    try:
        data = path.read_bytes()
        with BUDGET.share() as reserve:
            decode(data, value_range=value_range, reserve=reserve)
    except ImageError as error:
        return error
    except OSError as error:
        return ImageError(error.strerror or str(error))
    return hashlib.sha256(data).hexdigest()
