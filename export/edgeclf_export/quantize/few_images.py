"""What the evaluation images of an INT8 export can show, and more images where labels are too few.

A prediction that equals the reference's has not become wrong. So where the labelled images are too few to pass the
accuracy gate, the steps of the ladder are evaluated by agreement with the reference, also on images without labels and
on training images that did not calibrate.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from edgeclf_export.quantize.accuracy_gate import images_that_prove, provable_points, too_few_to_pass
from edgeclf_export.quantize.calibration import FEW_IMAGES, choose
from edgeclf_runtime.bundle.quantization_report import AccuracyGate
from edgeclf_runtime.images.labelled import LabelledImage

SELECTED = "selected on these images"
_AMPLE = 2  # times what is enough if no prediction changes, so that one that changes does not leave the verdict open


@dataclass(frozen=True, slots=True)
class ExtraImages:
    """How many images to evaluate on beside the labelled ones; `least` are enough if no prediction changes."""

    least: int
    most: int

    @classmethod
    def needed(cls, evaluation: Sequence[LabelledImage], gate: AccuracyGate) -> ExtraImages:
        """0 where the images are enough to pass the gate by themselves, or no number of images is."""
        wanted = images_that_prove(gate)
        if wanted is None or not too_few_to_pass(len(evaluation), gate, 1.0):
            return cls(0, 0)
        return cls(wanted - len(evaluation), _AMPLE * wanted - len(evaluation))

    def spared(self, free: int, most: int) -> int:
        """How many of `free` images calibrate, at most `most`: few enough to leave some for evaluation."""
        return max(1, min(most, max(FEW_IMAGES, free - self.least)))

    def of(
        self, others: Sequence[LabelledImage], pool: int, *, learns: bool, seed: int = 0
    ) -> tuple[LabelledImage, ...]:
        """Those of `others` to evaluate on, class by class in turn, where `pool` images are free for every use.

        Where weights are to learn (`learns`), from the images that evaluate nothing, half of the pool is left to that,
        unless the gate needs more than the other half.
        """
        return choose(others, min(self.most, max(self.least, pool // 2)) if learns else self.most, seed)


def what_can_be_shown(
    evaluation: Sequence[LabelledImage], others: Sequence[LabelledImage], source: str, gate: AccuracyGate
) -> str:
    """For the user, before the first step: what one prediction is worth, what the images prove, how many are needed."""
    images, wanted = len(evaluation), images_that_prove(gate)
    one = f"one prediction is {100 / images:.2g} points, and " if gate.metric == "top-1" else ""
    text = (
        f"int8 is evaluated on {images} {source}: {one}if none changes they prove that {gate.metric} does not fall by "
        f"more than {provable_points(images):.2g}{' points' * (not one)}"
    )
    if not others:
        return text if wanted is None or images >= wanted else f"{text}; {_how_many(wanted, gate)}"
    together = images + len(others)
    able = provable_points(together)
    if gate.metric == "mAP":
        return (
            f"{text}, which is not enough for a gate of {gate}. So the steps of the ladder are evaluated on "
            f"{len(others)} more images that did not calibrate, {together} in all, by mAP where the reference's "
            "predictions are taken as the truth; that shows how near int8 is to the reference, and bounds no loss on "
            "true labels" + ("" if wanted is None or together >= wanted else f"; {_how_many(wanted, gate)}")
        )
    return (
        f"{text}, which is not enough for a gate of {gate}. So the steps of the ladder are evaluated by agreement "
        f"with the reference, on {len(others)} more images that did not calibrate: all {together} prove {able:.2g} "
        "points if no prediction changes"
        + ("" if wanted is None or together >= wanted else f"; {_how_many(wanted, gate)}")
    )


def what_is_learned_from(learning: int, evaluated: int) -> str:
    """For the user, before the first step: from how many images weights learn, and what helps where they are few."""
    text = f"--learn-int8: if no other step passes, weights learn from {learning:,} images that evaluate nothing"
    if learning >= FEW_IMAGES:
        return text
    fewer = ", or a larger --max-drop, which takes fewer to evaluate" if evaluated else ""
    return f"{text}. {FEW_IMAGES} or more should be there: give more images with --calib-data{fewer}"


def why_nothing_can_be_learned(images: int, gate: AccuracyGate) -> str | None:
    """A sentence where so few evaluation images can't show that what was learned passes; None: they are enough."""
    if not too_few_to_pass(images, gate, 1.0):
        return None
    wanted = images_that_prove(gate)
    return (
        f"--learn-int8: nothing is learned, since that would have to pass the gate, and {images:,} images can't show "
        "it even if no prediction changes" + ("" if wanted is None else f"; {_how_many(wanted, gate)}")
    )


def about(
    evaluation: Sequence[LabelledImage], others: Sequence[LabelledImage], source: str, trained_on: Collection[str]
) -> str:
    """Which images the steps were evaluated on by agreement, for the record."""
    known = sum(image.sha256 in trained_on for image in others)
    seen = f", {known} of which the reference was trained on" if known else ""
    return f"{len(evaluation)} {source} and {len(others)} images that did not calibrate{seen}, {SELECTED}"


def _how_many(wanted: int, gate: AccuracyGate) -> str:
    return f"a gate of {gate} needs {wanted:,} images, or give a larger --max-drop"
