"""What runs, bundles and reports record about the teacher of a network."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from edgeclf_runtime.json_fields import LATER

TeacherKind = Literal["run", "bundle", "zero-shot bundle"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherInfo:
    """The model whose logits a network learnt from (knowledge distillation).

    Attributes
    ----------
    sha256
        Of a run's weights; the digest of a bundle.
    top1, images
        Its accuracy on so many validation images of the network that it taught; None: they had no labels, or several an
        image, on which it has a `mean_average_precision`.
    unlabelled
        Training images that only it said something about.
    without_labels
        Whether no image had a label: the validation figures of the training are agreement with the teacher.
    """

    name: str
    kind: TeacherKind
    sha256: str
    top1: float | None = None
    images: int = 0
    unlabelled: int = 0
    without_labels: bool = False
    mean_average_precision: float | None = field(default=None, metadata=LATER)

    @property
    def evaluated(self) -> tuple[str, float] | None:
        """("top-1", 0.812), or its mAP; None: it was not evaluated."""
        if self.mean_average_precision is not None:
            return "mAP", self.mean_average_precision
        return None if self.top1 is None else ("top-1", self.top1)

    @property
    def accuracy(self) -> str:
        """ "top-1 0.812 on 750 validation images"."""
        if self.evaluated is None:
            return "accuracy not known"
        figure, value = self.evaluated
        return f"{figure} {value:.3f} on {self.images} validation images"

    def __str__(self) -> str:
        named = f"{self.kind} {self.name} ({self.sha256[:12]})"
        if self.without_labels:
            return f"{named}; the {self.unlabelled} training images were all unlabelled"
        labels = f"; {self.unlabelled} of the training images were unlabelled" if self.unlabelled else ""
        return f"{named}, {self.accuracy}{labels}"
