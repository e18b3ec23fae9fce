"""What a teacher gives to one training: logits that are computed once and kept, or of every view anew."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgeclf.training.config import TrainConfig, phases_of
from edgeclf.training.distillation.teacher import Teacher
from edgeclf.training.distillation.views import resized, view_pixels
from edgeclf.training.distributed import Processes
from edgeclf.training.inputs.batches import TrainingImages, plain_batches
from edgeclf_runtime.bundle.teacher_info import TeacherInfo
from edgeclf_runtime.images.pixels import Pixels
from edgeclf_runtime.metrics.average_precision import mean_average_precision
from edgeclf_runtime.progress import SILENT, Progress

if TYPE_CHECKING:
    import torch

_BATCH = 32
NO_LABEL = -1  # among class numbers; where images may have several labels, in the place of each


class Distillation:
    """The teacher of one training, the images that only it knows, and its logits of all training images.

    `unlabelled`: images beside those with labels. `info.without_labels`: there are no labels at all; the class numbers
    of the data are the teacher's predictions then, which validate, but never train.
    """

    def __init__(
        self,
        teacher: Teacher,
        info: TeacherInfo,
        unlabelled: TrainingImages | None = None,
        stored: NDArray[np.float32] | None = None,
    ) -> None:
        self.teacher, self.info = teacher, info
        self._unlabelled = unlabelled
        self._stored = stored

    def training_images(self, images: TrainingImages) -> TrainingImages:
        """All images that train, those that nobody labelled with the class number -1, or with -1 for each label."""
        labels = np.full_like(images.labels, NO_LABEL) if self.info.without_labels else images.labels
        if self._unlabelled is None:
            return TrainingImages(images.images, labels)
        more = self._unlabelled
        return TrainingImages((*images.images, *more.images), np.concatenate([labels, more.labels]))

    def prepare(
        self,
        config: TrainConfig,
        phase: int,
        images: tuple[TrainingImages, TrainingImages],
        processes: Processes,
        progress: Progress,
    ) -> None:
        """Runs the teacher over the training and validation `images`, as far as the phases from `phase` on need it.

        Done once, in shares; what comes of it is `stored` and, with labels, the teacher's accuracy in `info`.
        """
        train, val = images
        stores = stores_logits(config, phase)
        evaluates = self.info.evaluated is None and not self.info.without_labels
        parts = [train] * (stores and self._stored is None) + [val] * evaluates
        if not parts:
            return
        progress.step("teacher", sum(batches_of(each, processes) for each in parts))
        if evaluates:
            found = teacher_logits(self.teacher, val, processes, progress)
            self.info = _evaluated(self.info, found, val)
        if stores and self._stored is None:
            self._stored = teacher_logits(self.teacher, train, processes, progress)

    def stored(self, chosen: torch.Tensor) -> torch.Tensor:
        """(N, classes) logits of the training images with these numbers."""
        import torch

        assert self._stored is not None  # `prepare` sees to it
        return torch.from_numpy(self._stored[chosen.numpy()])

    def view_pixels(self, student: Pixels) -> Pixels:
        """The geometry of views that both see."""
        return view_pixels(student, self.teacher.pixels)

    def of_views(self, views: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) levels 0..255 -> (N, classes) logits, on the views' device."""
        import torch

        own = resized(views, self.teacher.pixels.crop_px).round().clamp(0, 255).to(torch.uint8)
        pixels = own.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        return torch.from_numpy(self.teacher.logits(pixels)).to(views.device)


def stores_logits(config: TrainConfig, phase: int = 0) -> bool:
    """Whether a phase from `phase` on takes a teacher's logits of images as they are, not of views."""
    return any(each.on_features or not config.consistent_views for each in phases_of(config)[phase:])


def _evaluated(info: TeacherInfo, logits: NDArray[np.float32], images: TrainingImages) -> TeacherInfo:
    """With its top-1 on these images, or its mAP where they have several labels."""
    if images.multi_label:
        precision = mean_average_precision(logits.astype(np.float64), images.labels > 0)
        return replace(info, images=len(images), mean_average_precision=precision)
    return replace(info, images=len(images), top1=float((logits.argmax(axis=1) == images.labels).mean()))


def teacher_logits(
    teacher: Teacher, images: TrainingImages, processes: Processes = Processes(), progress: Progress = SILENT
) -> NDArray[np.float32]:
    """(N, classes) for the images as they are, through the teacher's own Pixels; each process works on its share.

    Raises DataError for an image that can't be read.
    """
    import torch

    own = images.part(processes.share(len(images)))
    rows = [np.empty((0, len(teacher.labels)), dtype=np.float32)]
    for batch in plain_batches(own, teacher.pixels, _BATCH):
        rows.append(teacher.logits(batch))
        progress.advance()
    return processes.join_rows(torch.from_numpy(np.concatenate(rows)), len(images)).numpy()


def batches_of(images: TrainingImages, processes: Processes) -> int:
    """Of the first process, whose share is the largest."""
    return math.ceil(math.ceil(len(images) / processes.size) / _BATCH)
