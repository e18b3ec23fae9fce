"""The content of an evaluation's report."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from edgeclf.data.usable import Unreadable
from edgeclf.evaluation.test_set_usage import TestUse
from edgeclf.explanation.explanation import Explanation
from edgeclf_benchmarks.measuring.predictions import Origin
from edgeclf_runtime.bundle.manifest import Thresholds
from edgeclf_runtime.metrics.curves import Curves
from edgeclf_runtime.metrics.intervals import Interval
from edgeclf_runtime.metrics.metrics import Evaluation, Scores
from edgeclf_runtime.metrics.multilabel import MultiLabelEvaluation
from edgeclf_runtime.metrics.temperature_fit import TemperatureFit


@dataclass(frozen=True, slots=True)
class Mistake:
    """A wrong prediction, `answer`. `confidence`: its probability, or its margin over the right class.

    Where images have several labels, it is about `decided`, one of them, and `answer` says whether that was predicted
    or missed.
    """

    path: str
    label: str
    answer: str
    confidence: float
    decided: str | None = None


@dataclass(frozen=True, slots=True)
class Subject:
    """What was evaluated: a bundle, or a run that is not exported yet. The digest is its identity."""

    kind: Literal["bundle", "run"]
    name: str
    digest: str
    target: str
    weights_precision: str
    classes: tuple[str, ...]
    scores: Scores = "softmax"
    temperature: float = 1.0
    thresholds: Thresholds = field(default_factory=Thresholds)
    temperature_fit: TemperatureFit | None = None


@dataclass(frozen=True, slots=True)
class UnknownEvaluation:
    """How well images of none of the classes are told from those that were evaluated, and found unknown.

    Attributes
    ----------
    images, known_images
        Images of none of the classes, and images of the classes, that could be read.
    auroc
        Of the energy: how often an unknown image has less of it than a known one. 1: always; 0.5: chance. Where images
        have several labels it is the sum over the labels, JointEnergy (Wang et al., NeurIPS 2021).
    auroc_of_score
        Of the highest probability in its place, for comparison.
    auroc_of_features, auroc_of_features_interval
        Of the similarity of the features with the nearest class mean; None: the subject gives no features.
    missed
        The share of unknown images that get a class all the same, or any label; None: the subject has no thresholds.
    false_alarms
        The share of known images that are "unknown"; None: the subject has no thresholds for that.
    known_without_label
        Known images that show none of several labels: their energy is low, too, as it should be.
    """

    images: int
    known_images: int
    auroc: float
    auroc_interval: Interval | None
    auroc_of_score: float
    missed: float | None
    missed_interval: Interval | None
    false_alarms: float | None
    false_alarms_interval: Interval | None
    unreadable: tuple[Unreadable, ...] = ()
    auroc_of_features: float | None = None
    auroc_of_features_interval: Interval | None = None
    known_without_label: int = 0


@dataclass(frozen=True, slots=True)
class ExplainedMistake:
    """What speaks for the class that was predicted, and for the right one; the pictures' names in that order.

    Where images have several labels, what speaks for the one that was predicted or missed, alone, as `answer` says.
    """

    path: str
    predicted: Explanation
    right: Explanation | None
    pictures: tuple[str, ...]
    answer: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationReport:
    """The content of report.json, schema 1. Paths are relative to the data's root.

    Attributes
    ----------
    evaluation
        The figures: of one label an image, or of several.
    test_use
        The use of test images as it was recorded; None: there were none among these images.
    other_data
        The subject was trained on another split than this one, so its training images may be among these.
    answered, right_of_answered
        With decision thresholds: the share of images whose prediction is not "unknown", and the share of right
        ones among those; None: it has no thresholds. All other figures of one label an image leave thresholds aside.
        Where images have several labels, all figures leave aside which ones are "unknown", and the share of right ones
        is not counted.
    worst
        The surest mistakes first. Where images have several labels each is about one of them, and `confidence` is the
        share of the way from the label's threshold to 0 or 1 that its probability lies on the wrong side.
    origin
        Where the splits of the data come from, as `HeldOut` has it; "whole": it had none, and all of it is evaluated.
    of_images
        Images of the data, all splits together; None in reports of earlier versions.
    selected_on
        How many of the images are validation images of the split that the subject was trained with, and selected its
        best epoch, temperature or precision.
    classes_present
        With --classes present: how many of the subject's classes these images have; it chooses among all of them.
    unknown
        With --unknown: what became of images of none of the classes; no other figure counts them.
    explained
        With --explain: the first of `worst`, with what each of them rests on.
    """

    created_utc: str
    subject: Subject
    data: str
    data_sha256: str
    split: str
    test_use: TestUse | None
    other_data: bool
    evaluation: Evaluation | MultiLabelEvaluation
    answered: float | None = None
    right_of_answered: float | None = None
    curves: tuple[Curves, ...]
    worst: tuple[Mistake, ...]
    unreadable: tuple[Unreadable, ...]
    seconds: float
    compute_precision: str
    engine: dict[str, str]
    machine: dict[str, str]
    origin: Origin | None = None
    of_images: int | None = None
    selected_on: int = 0
    classes_present: int | None = None
    unknown: UnknownEvaluation | None = None
    explained: tuple[ExplainedMistake, ...] = ()

    @property
    def kind(self) -> Literal["evaluation", "multi-label evaluation"]:
        """What report.json says that it is."""
        return "multi-label evaluation" if isinstance(self.evaluation, MultiLabelEvaluation) else "evaluation"
