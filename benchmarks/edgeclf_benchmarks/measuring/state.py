"""The state of a running bench: its rows, and what was measured of each so far."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgeclf_benchmarks.measuring.cold_start import ColdStart
from edgeclf_benchmarks.measuring.contenders import BundleContender, Contender, pixels_of
from edgeclf_benchmarks.measuring.corrupted_images import CorruptedImages
from edgeclf_benchmarks.measuring.energy import Power
from edgeclf_benchmarks.measuring.machine_state import Conditions
from edgeclf_benchmarks.measuring.options import PROFILES, BenchOptions, Profile
from edgeclf_benchmarks.measuring.plain_loop import NAME as PLAIN
from edgeclf_benchmarks.measuring.plain_loop import PlainLoop, can_stand_for
from edgeclf_benchmarks.measuring.predictions import LabelledImages
from edgeclf_benchmarks.measuring.rounds import Record
from edgeclf_benchmarks.measuring.scenarios import RULES, Scenario
from edgeclf_benchmarks.measuring.yardstick import NAMES, ContenderYardstick
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.proof import Proof
from edgeclf_runtime.errors import UsageError
from edgeclf_runtime.images.labelled import LabelledImage, class_numbers, label_targets
from edgeclf_runtime.session import is_reference


@dataclass(slots=True)
class Part:
    """What was measured of one row so far."""

    contender: Contender
    bundle: Bundle
    compute_precision: str
    engine: dict[str, str] = field(default_factory=dict)
    opening_s: float = 2.0  # to open it and predict golden images; a guess until it was verified
    proof: Proof | None = None
    outputs: NDArray[np.float32] | None = None
    test_use: int | None = None
    cold_start: ColdStart | None = None
    peak_mib: float | None = None
    scenarios: list[Scenario] = field(default_factory=list)
    power: Power | None = None

    @property
    def name(self) -> str:
        return self.contender.name

    @property
    def is_plain(self) -> bool:
        return isinstance(self.contender, PlainLoop)

    @property
    def timed(self) -> bool:
        """Only what passes its proof is timed; the plain loop runs the weights of a bundle that was proven."""
        return self.is_plain or (self.proof is not None and self.proof.verdict != "fail")


@dataclass(slots=True)
class BenchState:
    """A running bench: an interruption leaves in it what was measured until then."""

    options: BenchOptions
    parts: list[Part]
    reference: Part
    data: LabelledImages | None
    before: Conditions
    started: float
    images: tuple[LabelledImage, ...] = ()
    unreadable: dict[str, str] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)
    reference_again: str = ""  # name of its second contender, for A/A noise
    yardsticks: tuple[ContenderYardstick, ...] = ()
    without_yardstick: dict[str, str] = field(default_factory=dict)  # target -> why
    stopped: KeyboardInterrupt | None = None
    corrupted: CorruptedImages | None = None
    robustness_s: float = 0.0  # for all corrupted images; first a guess
    reference_chosen: bool = False

    @property
    def profile(self) -> Profile:
        return PROFILES[self.options.profile]

    @property
    def rounds(self) -> int:
        return self.options.rounds or self.profile.rounds

    @property
    def target_s(self) -> float:
        """Seconds that the whole bench may take: the profile's (more with more than three bundles), and extras."""
        whole = self.profile.target_s * max(1.0, sum(not part.is_plain for part in self.parts) / 3)
        return whole + self.robustness_s + (self.scenarios_s if self.options.profile == "mlperf" else 0.0)

    @property
    def scenarios_s(self) -> float:
        """About how long the scenarios take."""
        each = self.options.duration_s or self.profile.offline_s
        patterns = len(RULES) if self.options.profile == "mlperf" else 1
        bundles = sum(not part.is_plain and (part.proof is None or part.timed) for part in self.parts)
        return patterns * (each + 1) * bundles

    @property
    def labels(self) -> NDArray[np.intp]:
        """(N,) the number of each image's class, in the data's order of classes."""
        return class_numbers(self.images, () if self.data is None else self.data.classes)

    @property
    def multi_label(self) -> bool:
        """Whether the images may have several labels."""
        return self.data is not None and self.data.data.multi_label

    @property
    def targets(self) -> NDArray[np.bool_]:
        """(N, classes) which labels each image has, in the data's order of classes."""
        return label_targets(self.images, () if self.data is None else self.data.classes) > 0

    def elapsed_s(self) -> float:
        return time.perf_counter() - self.started

    def left_s(self) -> float:
        """About how many seconds are left; at least as many as the remaining steps need."""
        proofs_s = sum(part.opening_s for part in self.parts if part.proof is None and not part.is_plain)
        return max(self.target_s - self.elapsed_s(), proofs_s + self.after_predictions_s)

    @property
    def after_predictions_s(self) -> float:
        """About how many seconds cold starts, rounds and scenarios need at least."""
        cold = [part for part in self.parts if not part.is_plain and part.cold_start is None]
        cold_s = self.profile.cold_starts * sum(part.opening_s for part in cold if part.proof is None or part.timed)
        return cold_s + self.profile.fewest_rounds_s + self.scenarios_s


def line_up(bundles: Sequence[Bundle], reference: Bundle | None, options: BenchOptions) -> tuple[list[Part], Part]:
    """The rows, with unique names, and the one that is the reference."""
    if not bundles:
        raise UsageError("name one bundle or more: edgeclf bench BUNDLE…")
    everyone = list(bundles)
    if reference is not None and reference.digest not in {each.digest for each in everyone}:
        everyone.insert(0, reference)
    names = _names(everyone)
    parts = []
    for name, bundle in zip(names, everyone, strict=True):
        pixels_of(bundle)
        parts.append(Part(BundleContender(name, bundle), bundle, bundle.manifest.compute_precision))
    _check_tasks(parts)
    first = next((part for part in parts if reference is not None and part.bundle.digest == reference.digest), None)
    first = first or next((part for part in parts if is_reference(part.bundle.manifest.target)), parts[0])
    if options.plain_loop:
        source = next((part.bundle for part in parts if can_stand_for(part.bundle)), None)
        if source is not None:
            parts.append(Part(PlainLoop(source), source, "fp32"))
    return parts, first


def _check_tasks(parts: Sequence[Part]) -> None:
    """Raises UsageError where some classify and others embed, or some predict one label an image and others several."""
    tasks = {part.bundle.manifest.task: part.name for part in parts}
    if len(tasks) > 1:
        named = " and ".join(f"{name} ({task})" for task, name in tasks.items())
        raise UsageError(f"{named} are of different tasks; bench them apart")
    several = {part.bundle.manifest.multi_label: part.name for part in parts}
    if len(several) > 1:
        raise UsageError(f"{several[False]} predicts one label an image, {several[True]} several; bench them apart")


def _names(bundles: Sequence[Bundle]) -> list[str]:
    """The bundles' names; one that is used twice, or is the plain loop's or a yardstick's, gets a number."""
    names: list[str] = []
    for bundle in bundles:
        name, number = bundle.name, 2
        while name in (*names, PLAIN, *NAMES):
            name, number = f"{bundle.name} ({number})", number + 1
        names.append(name)
    return names
