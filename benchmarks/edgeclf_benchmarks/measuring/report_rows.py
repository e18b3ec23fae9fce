"""A row of a bench report: one contender with all its measurements."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from edgeclf_benchmarks.measuring.cold_start import ColdStart
from edgeclf_benchmarks.measuring.energy import Power
from edgeclf_benchmarks.measuring.scenarios import Scenario
from edgeclf_benchmarks.measuring.thresholds import Decided
from edgeclf_benchmarks.measuring.timing import Latency, Stage
from edgeclf_runtime.bundle.manifest import Calibration
from edgeclf_runtime.bundle.parity import Parity
from edgeclf_runtime.bundle.proof import Proof
from edgeclf_runtime.bundle.teacher_info import TeacherInfo
from edgeclf_runtime.json_fields import LATER
from edgeclf_runtime.metrics.curves import Curves
from edgeclf_runtime.metrics.metrics import Evaluation, Scores
from edgeclf_runtime.metrics.multilabel import MultiLabelEvaluation
from edgeclf_runtime.metrics.robustness import Robustness


@dataclass(frozen=True, slots=True)
class Predictions:
    """Top class (number in `Data.classes`) and its score (probability or margin) for each image of `Data.images`.

    Where images may have several labels: also the numbers of all labels that were predicted, and the logits of all
    labels, exact as float32 are: a later report is compared with their ranks.
    """

    numbers: tuple[int, ...]
    confidence: tuple[float, ...]
    labels: tuple[tuple[int, ...], ...] | None = field(default=None, metadata=LATER)
    logits: tuple[tuple[float, ...], ...] | None = field(default=None, metadata=LATER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One contender: a bundle, or the plain loop (PIL, torchvision's transforms, the eager module; batch 1).

    Attributes
    ----------
    name
        Unique in the report.
    kind
        "bundle" or "plain-loop".
    digest
        The bundle's; the plain loop has that of the bundle whose weights it runs.
    labels
        In the order of the model's classes.
    bundle_bytes, model_bytes
        All files, and those without golden images and manifest.
    training_seconds, training_images
        None: not known (an untrained or foreign model; other data than the report's).
    proof
        On this machine, on the golden images; taken before anything was timed. None for the plain loop.
    peak_memory_mib
        Largest resident set of a process that only opens this bundle and predicts once.
    test_look
        Which use of this test split it was, counted from 1; None: no test images.
    parity
        None: it is the reference, or there were no labelled images.
    robustness
        On corrupted images; None: not measured (--corruptions), or the plain loop, which runs a bundle's weights.
    decided
        Predictions under the bundle's thresholds; None: it has none. All other figures ignore them.
    teacher
        What it was trained with beside labels; None: nothing, or a report of an earlier version.
    multi_label
        Whether it predicts several labels an image, each by itself.
    """

    name: str
    kind: Literal["bundle", "plain-loop"]
    digest: str
    target: str
    backbone: str
    weights: str
    weights_precision: str
    compute_precision: str
    scores: Scores
    engine: dict[str, str]
    labels: tuple[str, ...]
    input_px: tuple[int, int]
    bundle_bytes: int | None = None
    model_bytes: int | None = None
    training_seconds: float | None = None
    training_images: int | None = None
    calibration: Calibration | None = None
    proof: Proof | None = None
    cold_start: ColdStart | None = None
    peak_memory_mib: float | None = None
    latencies: tuple[Latency, ...] = ()
    scenarios: tuple[Scenario, ...] = ()
    power: Power | None = None
    test_look: int | None = None
    answers: Predictions | None = None
    evaluation: Evaluation | MultiLabelEvaluation | None = None
    curves: tuple[Curves, ...] = ()
    parity: Parity | None = None
    robustness: Robustness | None = None
    decided: Decided | None = None
    teacher: TeacherInfo | None = None
    multi_label: bool = field(default=False, metadata=LATER)

    def latency(self, stage: Stage, batch: int, threads: int) -> Latency | None:
        """The figures of one stage at one batch size and number of threads; None: not measured."""
        for found in self.latencies:
            if (found.stage, found.batch, found.threads) == (stage, batch, threads):
                return found
        return None
