"""A learning curve: how accurate each approach is with a tenth, a quarter, … of the training images."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from edgeclf.baselines.baseline import BaselineOptions, make_baseline
from edgeclf.data.fractions import nested_subsets
from edgeclf.data.split import require_images, split_faults
from edgeclf.data.split_file import load_split, save_split
from edgeclf.data.usable import leave_out
from edgeclf.evaluation.evaluation_report import EvaluationReport
from edgeclf.evaluation.report import evaluate_bundle
from edgeclf.training.choices import CurveSplit
from edgeclf.training.config import TrainConfig
from edgeclf.training.kept_runs import kept_run
from edgeclf.training.run.evaluate import evaluate_run
from edgeclf.training.run.left_out import leave_out_unusable
from edgeclf.training.run.run import Run
from edgeclf_runtime.bundle.atomic_write import writing
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.dataclass_json import from_json, parse_json, to_json
from edgeclf_runtime.errors import DataError, UsageError
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.machine.facts import machine_facts, now_utc
from edgeclf_runtime.metrics.intervals import Interval
from edgeclf_runtime.progress import SILENT, Progress

BASELINE = "hog-svm"  # a name among the strategies, for the classical baseline
PLAN, SPLIT, CURVE = "plan.json", "split.json", "curve.json"
PLOT, PAGE = "curve.png", "curve.html"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a learning curve measures: one training per strategy, and perhaps the classical baseline."""

    schema: int = 1
    trainings: tuple[TrainConfig, ...]
    baseline: bool = False
    fractions: tuple[float, ...]
    judged_on: CurveSplit = "val"

    def __post_init__(self) -> None:
        if self.judged_on not in get_args(CurveSplit):
            raise UsageError(f"a learning curve is evaluated on val or test images, found {self.judged_on!r}")

    @property
    def approaches(self) -> tuple[str, ...]:
        return (*((BASELINE,) if self.baseline else ()), *(config.strategy for config in self.trainings))

    @property
    def seed(self) -> int:
        return self.trainings[0].seed

    @property
    def selected_here(self) -> bool:
        """Whether the networks' best epochs were chosen on the images that they are evaluated on."""
        return self.judged_on == "val"

    def training(self, strategy: str) -> TrainConfig:
        return next(config for config in self.trainings if config.strategy == strategy)


def plan_curve(
    options: Mapping[str, Any],
    approaches: Sequence[str],
    fractions: tuple[float, ...],
    evaluated_on: CurveSplit = "val",
) -> Plan:
    """A plan from the options of `TrainConfig` that all strategies share. Raises UsageError for contradictory ones.

    An option that only one of several strategies knows goes to that one. `lr` is then the network's rate, and a linear
    probe learns as two-phase's first phase does: by `head_lr`, in `head_epochs`.
    """
    strategies = [approach for approach in approaches if approach != BASELINE]
    if not strategies:
        raise UsageError(f"{BASELINE} alone trains no network; add a strategy, or see `edgeclf baseline`")
    if len(set(approaches)) != len(approaches):
        raise UsageError(f"a strategy is named twice in {','.join(approaches)}; name each once")
    return Plan(
        trainings=tuple(TrainConfig(**_options_for(strategy, options, strategies)) for strategy in strategies),
        baseline=BASELINE in approaches,
        fractions=fractions,
        judged_on=evaluated_on,
    )


def _options_for(strategy: str, options: Mapping[str, Any], strategies: Sequence[str]) -> dict[str, Any]:
    own = {**options, "strategy": strategy}
    if len(strategies) == 1:
        return own
    if strategy == "linear-probe":
        own |= {"epochs": options.get("head_epochs") or options["epochs"], "lr": None, "ema": 0.0}
    for option, takers in (("head_epochs", ("two-phase", "linear-probe")), ("layer_decay", ("discriminative",))):
        if strategy != takers[0] and any(taker in strategies for taker in takers):
            own[option] = None
    return own


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One approach on one part of the training images; `path` lies in the curve's folder.

    `accuracy` is top-1, or mAP where images have several labels: `LearningCurve.figure` says which.
    """

    approach: str
    fraction: float
    images: int
    accuracy: float
    interval: Interval | None
    macro_f1: float
    training_seconds: float
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningCurve:
    """The content of curve.json, schema 1: points in the order in which they were measured, all of them or not yet."""

    schema: int = 1
    kind: str = "learning-curve"
    created_utc: str
    model: str
    data: str
    data_sha256: str
    judged_on: str
    judged_images: int
    selected_here: bool
    complete: bool
    points: tuple[Point, ...]
    machine: dict[str, str]
    figure: str = "top-1"

    def of(self, approach: str) -> tuple[Point, ...]:
        """The points of one approach, fewest images first."""
        return tuple(sorted((p for p in self.points if p.approach == approach), key=lambda point: point.images))

    @property
    def approaches(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(point.approach for point in self.points))


def is_curve(path: Path) -> bool:
    return (path / PLAN).is_file()


def check_free(path: Path) -> None:
    """Raises UsageError where a learning curve or a run is there already."""
    if is_curve(path):
        raise UsageError(f"{path} holds a learning curve; go on with --resume {path}, or choose another --name")
    Run.check_free(path)


def start_curve(plan: Plan, data: DataSplit, path: Path, progress: Progress = SILENT) -> LearningCurve:
    """Trains and evaluates every approach on every fraction, the smallest first, each in its own folder in `path`.

    Raises as `train` does, and UsageError where a fraction leaves a class empty, before anything is trained. Points
    that were finished then are kept, and `resume_curve` goes on from there.
    """
    check_free(path)
    if faults := split_faults(data.images):
        raise DataError(f"{data.root}: {faults[0]}")
    data, _ = leave_out_unusable(data, plan.trainings[0].value_range, strict=False, progress=progress)
    require_images(data, plan.judged_on, data.root, "evaluate")
    nested_subsets(data, plan.fractions, plan.seed)
    save_split(data, path / SPLIT, force=True)
    _write(path / PLAN, to_json(plan))
    return resume_curve(path, progress)


def resume_curve(path: Path, progress: Progress = SILENT) -> LearningCurve:
    """Measures the points that are still missing."""
    plan = from_json(Plan, _read(path / PLAN), str(path / PLAN))
    data = load_split(path / SPLIT, several_labels="known")
    subsets = nested_subsets(data, plan.fractions, plan.seed)
    with Run(path).alone():
        points = list(load_curve(path).points) if (path / CURVE).is_file() else []
        total = len(plan.fractions) * len(plan.approaches)
        number = 0
        for fraction, subset in zip(plan.fractions, subsets, strict=True):
            for approach in plan.approaches:
                number += 1
                if any((point.approach, point.fraction) == (approach, fraction) for point in points):
                    continue
                progress.note(f"point {number} of {total}: {approach} on {len(subset.of('train'))} images")
                points.append(_measure(plan, approach, fraction, subset, path, progress))
                _write(path / CURVE, to_json(_curve(plan, data, points, complete=len(points) == total)))
    return load_curve(path)


def load_curve(path: Path) -> LearningCurve:
    return from_json(LearningCurve, _read(path / CURVE), str(path / CURVE))


def _curve(plan: Plan, data: DataSplit, points: Sequence[Point], *, complete: bool) -> LearningCurve:
    return LearningCurve(
        created_utc=now_utc(),
        model=plan.trainings[0].model,
        data=data.name,
        data_sha256=data.digest,
        judged_on=plan.judged_on,
        judged_images=len(data.of(plan.judged_on)),
        selected_here=plan.selected_here,
        complete=complete,
        points=tuple(points),
        machine=machine_facts(),
        figure="mAP" if data.multi_label else "top-1",
    )


def _measure(plan: Plan, approach: str, fraction: float, subset: DataSplit, folder: Path, progress: Progress) -> Point:
    if approach == BASELINE:
        place, seconds, report = _baseline(plan, fraction, subset, folder)
    else:
        place, seconds, report = _network(plan, approach, fraction, subset, folder, progress)
    if report.unreadable:
        first = report.unreadable[0]
        raise DataError(f"{subset.root}/{first.path}: {first.error}; `edgeclf data check` finds all such images")
    found = report.evaluation.main_figure
    return Point(
        approach=approach,
        fraction=fraction,
        images=len(subset.of("train")),
        accuracy=found.value or 0.0,
        interval=found.interval,
        macro_f1=report.evaluation.macro_f1 or 0.0,
        training_seconds=seconds,
        path=place.name,
    )


def _network(
    plan: Plan, strategy: str, fraction: float, subset: DataSplit, folder: Path, progress: Progress
) -> tuple[Path, float, EvaluationReport]:
    place = folder / f"{strategy}-{fraction:g}"
    run = kept_run(plan.training(strategy), subset, place, progress)
    return place, run.outcome().training_seconds, evaluate_run(run, run.data(), plan.judged_on)


def _baseline(plan: Plan, fraction: float, subset: DataSplit, folder: Path) -> tuple[Path, float, EvaluationReport]:
    """HOG + SVM as a bundle; without test images, which it would use even where the curve is evaluated on val."""
    without_test = replace(subset, images=tuple(image for image in subset.images if image.split != "test"))
    import sklearn.metrics.pairwise
    import sklearn.preprocessing
    import sklearn.svm  # noqa: F401  # now: loading them is no part of the first point's training time

    options = BaselineOptions(
        output=folder,
        name=f"{fraction:g}",
        folds=0,
        seed=plan.seed,
        force=True,
        value_range=plan.trainings[0].value_range,
    )
    made = make_baseline(without_test, options)
    report = evaluate_bundle(Bundle.open(made.path), leave_out(subset, made.left_out), plan.judged_on)
    return made.path, round(made.training_seconds, 3), report


def _write(path: Path, content: object) -> None:
    with writing(path, force=True) as draft:
        draft.write_text(json.dumps(content, indent=1) + "\n")


def _read(path: Path) -> object:
    try:
        return parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: {error}") from error
