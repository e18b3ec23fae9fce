"""What the images that judge an INT8 model can show, said before the first step; more images where labels are too few.

A prediction that is the reference's can't have become wrong: so where the labelled images are too few to prove the
floor, the steps of the ladder are held to agreement with the reference, on images without labels and on training
images that did not calibrate, too.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from edgeclf_export.quantize.accuracy_gate import hopeless, images_that_prove, provable_points
from edgeclf_export.quantize.calibration import FEW_IMAGES
from edgeclf_runtime.bundle.quantization_report import AccuracyGate
from edgeclf_runtime.images.labelled import LabelledImage

SELECTED = "selected on these images"
_AMPLE = 2  # times what would do if no prediction changed: one that changes shall not leave the verdict open


@dataclass(frozen=True, slots=True)
class More:
    """How many images beside the labelled ones shall judge; `least` of them would do if no prediction changed."""

    least: int
    most: int

    @classmethod
    def needed(cls, judging: Sequence[LabelledImage], floor: AccuracyGate) -> More:
        """None where the images can prove the floor by themselves, or no number of images can."""
        wanted = images_that_prove(floor)
        if wanted is None or not hopeless(len(judging), floor, 1.0):
            return cls(0, 0)
        return cls(wanted - len(judging), _AMPLE * wanted - len(judging))

    def spared(self, free: int, most: int) -> int:
        """How many of `free` images calibrate, at most `most`: so few that the others can judge, yet not too few."""
        return max(1, min(most, max(FEW_IMAGES, free - self.least)))

    def of(self, others: Sequence[LabelledImage]) -> tuple[LabelledImage, ...]:
        return tuple(others[: self.most])


def what_can_be_shown(
    judging: Sequence[LabelledImage], others: Sequence[LabelledImage], source: str, floor: AccuracyGate
) -> str:
    """For the user, before anything is tried: what one prediction is worth, what they prove, how many would do."""
    images, wanted = len(judging), images_that_prove(floor)
    words = (
        f"int8 is evaluated on {images} {source}: one prediction is {100 / images:.2g} points, and if none changes "
        f"they prove that top-1 does not fall by more than {provable_points(images):.2g}"
    )
    if not others:
        return words if wanted is None or images >= wanted else f"{words}; {_would_do(wanted, floor)}"
    together = images + len(others)
    able = provable_points(together)
    return (
        f"{words}, which is too little for {floor}. So the steps are held to agreement with the reference, on "
        f"{len(others)} images that did not calibrate, too: {together} prove {able:.2g} points if no prediction changes"
        + ("" if wanted is None or together >= wanted else f"; {_would_do(wanted, floor)}")
    )


def about(
    judging: Sequence[LabelledImage], others: Sequence[LabelledImage], source: str, learnt: Collection[str]
) -> str:
    """Which images judged by agreement, for the record."""
    known = sum(image.sha256 in learnt for image in others)
    seen = f", {known} of which the reference learnt" if known else ""
    return f"{len(judging)} {source} and {len(others)} images that did not calibrate{seen}, {SELECTED}"


def _would_do(wanted: int, floor: AccuracyGate) -> str:
    return f"for {floor} {wanted} would do, or a larger --max-drop"
