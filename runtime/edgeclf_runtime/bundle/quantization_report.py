"""The search for INT8: each step of the ladder that was tried, its evaluation and speed, and why one was kept."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from edgeclf_runtime.json_fields import LATER
from edgeclf_runtime.metrics.main_figure import Figure, top1_or_map
from edgeclf_runtime.metrics.paired import in_points
from edgeclf_runtime.metrics.temperature_fit import TemperatureFit
from edgeclf_runtime.metrics.verdict import Verdict

StepOutcome = Literal["model", "candidate", "passed over", "failed"]


@dataclass(frozen=True, slots=True)
class AccuracyGate:
    """The most that top-1 may fall: points, or the share of the reference's top-1 that must be left (MLPerf: 0.99).

    Where images may have several labels, `metric` is "mAP" and takes its place.
    """

    points: float | None = 1.0
    share: float | None = None
    metric: Figure = field(default="top-1", metadata=LATER)

    def __post_init__(self) -> None:
        if (self.points is None) == (self.share is None):
            raise ValueError("the accuracy gate is either points or a share")
        if not (self.share is None or 0 < self.share < 1) or not (self.points is None or 0 < self.points <= 100):
            raise ValueError(f"the accuracy gate lies above 0 and up to 100 points or below 100 %, found {self}")

    def margin_points(self, reference: float) -> float:
        """The margin in points for a reference whose top-1, or mAP, is 0..1."""
        return self.points if self.points is not None else 100 * reference * (1 - (self.share or 0))

    def __str__(self) -> str:
        if self.points is not None:
            return in_points(self.points)
        return f"{self.share:.1%} of the reference's {self.metric}"


@dataclass(frozen=True, slots=True)
class GateEvaluation:
    """A model against its reference on the same labelled images (paired). Shares are 0..1, changes in points.

    Attributes
    ----------
    source
        Which images, and what they selected or how often they were used.
    labelled
        False: the images have no labels, so the reference's predictions stand in for them; top-1 is then the agreement.
    metric
        What is compared, `value` with `value_reference`: "mAP" where images may have several labels.
    right_to_wrong, wrong_to_right
        Images, or with several labels an image their labels, that only the reference, or only the model, predicts
        rightly.
    bound_points
        One-sided 95 % lower bound of the change of that figure; "pass" where it lies above -`margin_points`.
    mean_kl, p99_kl
        Kullback-Leibler divergence from the reference's probabilities, nats, each at its own temperature.
    ece_reference, ece
        Expected calibration errors; None without labels.
    temperature, temperature_fit
        Fitted anew on these images, with the evidence; None: it was fitted on others.
    images_needed
        Images that would settle an inconclusive verdict; None: it is settled, or more images never will.
    """

    images: int
    source: str
    labelled: bool
    value_reference: float = field(metadata=top1_or_map("top1_reference", "metric"))
    value: float = field(metadata=top1_or_map("top1", "metric"))
    right_to_wrong: int
    wrong_to_right: int
    change_points: float
    bound_points: float
    margin_points: float
    mean_kl: float
    p99_kl: float
    ece_reference: float | None
    ece: float | None
    temperature: float
    verdict: Verdict
    reasons: tuple[str, ...]
    images_needed: int | None = None
    temperature_fit: TemperatureFit | None = None
    metric: Figure = field(default="top-1", metadata=LATER)

    @property
    def worth(self) -> str:
        """How many images evaluated, and what a single one changes: "244 images, of which one is worth 0.41 points"."""
        plural = "s" if self.images != 1 else ""
        if self.metric != "top-1":
            return f"{self.images:,} image{plural}"
        return f"{self.images:,} image{plural}, of which one is worth {100 / self.images:.2g} points"


@dataclass(frozen=True, slots=True)
class Step:
    """One way to make the model smaller or faster, and what came of it.

    Attributes
    ----------
    name
        Short and unique in its ladder: "int8 min-max", "fp16", …
    did
        What was done, in words.
    float_layers
        Nodes of the ONNX graph that were left in float on purpose.
    shares
        Share of the multiplications by the precision that the engine really computes in.
    median_ms, ratio
        One image, and the median over rounds of its time over fp32's in the same round; None: not measured.
    """

    name: str
    precision: str
    did: str
    float_layers: tuple[str, ...]
    shares: dict[str, float] | None
    model_bytes: int
    judged: GateEvaluation | None
    problem: str | None = None
    median_ms: float | None = None
    ratio: float | None = None
    became: StepOutcome = "failed"

    @property
    def holds(self) -> bool:
        return self.problem is None and (self.judged is None or self.judged.verdict == "pass")


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """How far the predictions move if this layer alone is quantized: mean KL divergence on calibration images, nats."""

    node: str
    operator: str
    mean_kl: float
    macs_share: float


@dataclass(frozen=True, slots=True)
class Ladder:
    """The whole record. `blame` names the layers responsible for a loss, where that had to be measured.

    `chosen` is the name of the step that became the model; empty: none passed, and this is the record of a failure.

    `final` is the figure on test images; None: there were none, and the steps' own evaluations (`judged`) are on images
    that also selected.
    `noise` is how far two sessions of the same model differed when the steps (`rungs`) were timed (0.03: 3 %).
    """

    floor: AccuracyGate
    rungs: tuple[Step, ...]
    chosen: str
    why: str
    blame: tuple[Sensitivity, ...]
    warnings: tuple[str, ...]
    final: GateEvaluation | None
    machine: dict[str, str]
    noise: float | None = None

    def step(self, name: str) -> Step:
        return next(step for step in self.rungs if step.name == name)

    @property
    def evaluated(self) -> GateEvaluation | None:
        """An evaluation of a step, all of which are on the same images; None: the engine refused every step."""
        return next((step.judged for step in self.rungs if step.judged is not None), None)

    @property
    def decisive(self) -> GateEvaluation | None:
        """The figure for the accuracy gate: on test images, which chose nothing, or else that of the chosen step.

        So too where the test images leave open what agreement of top-1 with the reference has shown on more images;
        that of several labels bounds no loss.

        None for fp32, which is the reference itself, and where no step was chosen.
        """
        if not self.chosen or (chosen := self.step(self.chosen)).precision == "fp32":
            return None
        judged, final = chosen.judged, self.final
        by_agreement = judged is not None and not judged.labelled and judged.metric == "top-1"
        if final is not None and final.verdict == "inconclusive" and judged is not None and by_agreement:
            return judged if judged.verdict == "pass" and judged.images > final.images else final
        return final or judged

    def chosen_again(self, name: str, why: str) -> Ladder:
        """Another step becomes the model, as on a device. The figure on test images was of the one before it."""
        rungs = tuple(replace(step, became=_outcome_again(step, name)) for step in self.rungs)
        return replace(self, rungs=rungs, chosen=name, why=why, final=None)


def _outcome_again(step: Step, chosen: str) -> StepOutcome:
    if step.name == chosen:
        return "model"
    return "failed" if step.became == "failed" else "passed over"


def in_a_path(name: str) -> str:
    """A step's name for files and folders: "int8 min-max + bias" -> int8-min-max-bias."""
    return name.replace(" + ", "-").replace(" ", "-")


def shares_in_words(shares: dict[str, float]) -> str:
    """ "94% int8, 6% fp32", the largest first."""
    ranked = sorted(shares.items(), key=lambda item: -item[1])
    return ", ".join(f"{share:.0%} {precision}" for precision, share in ranked)
