"""A search on disk: its plan, and what was measured of each candidate so far."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgeclf.training.config import TrainConfig
from edgeclf.training.search.candidates import Candidate
from edgeclf_runtime.bundle.atomic_write import writing
from edgeclf_runtime.bundle.dataclass_json import from_json, parse_json, to_json
from edgeclf_runtime.errors import DataError, UsageError
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.json_fields import LATER
from edgeclf_runtime.machine.facts import machine_facts, now_utc
from edgeclf_runtime.metrics.intervals import Interval
from edgeclf_runtime.metrics.main_figure import Figure

PLAN, SPLIT, SEARCH, PLOT = "search-plan.json", "split.json", "search.json", "search.png"
FIRST_SHARE = 0.25  # of the training images, for the first round of many candidates


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchPlan:
    """What a search compares, and how.

    Attributes
    ----------
    candidates
        The backbones with their weights.
    training
        What all trainings share; model, weights, strategy and epochs are of each candidate and round.
    target, threads
        The engine that latency is measured on, and its threads.
    max_ms
        Candidates above it are left out before anything is trained; None: none is.
    probe_epochs
        Passes of a linear probe's head over the features.
    tune_epochs
        Epochs of the fine-tuning (two-phase) that the finalists get.
    finalists
        How many candidates are fine-tuned.
    """

    schema: int = 1
    candidates: tuple[Candidate, ...]
    training: TrainConfig
    target: str = "onnx"
    threads: int
    max_ms: float | None = None
    probe_epochs: int = 10
    tune_epochs: int = 3
    finalists: int = 3

    def __post_init__(self) -> None:
        if not self.candidates:
            raise UsageError("a search needs a model at least; name some")
        if self.max_ms is not None and not self.max_ms > 0:
            raise UsageError(f"the latency that a search allows lies above 0 ms, found {self.max_ms:g}")
        if min(self.threads, self.probe_epochs, self.tune_epochs, self.finalists) < 1:
            raise UsageError("threads, epochs and finalists must be at least 1")


@dataclass(frozen=True, slots=True)
class Timed:
    """One image through the engine, pixels to logits: the median in milliseconds, and its 95 % interval."""

    median_ms: float
    interval: Interval | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One training of a candidate, evaluated on the validation images; `path` lies in the search's folder."""

    strategy: str
    images: int
    accuracy: float
    interval: Interval | None
    training_seconds: float
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What is known of one candidate.

    Attributes
    ----------
    left_out
        Why it went no further: no weights, too slow, less accurate than others; None: it went to the end, so far.
    probes, tuned
        Linear probes, the one on fewest images first, and the fine-tuning of a finalist.
    behind, behind_interval
        Of a finalist: points of top-1, or mAP, that it has more than the most accurate one (so 0 or less), paired by
        image, and their 95 % interval; None: it is the most accurate one, or not all finalists are fine-tuned yet.
    """

    model: str
    weights: str
    img_px: int | None = None
    latency: Timed | None = None
    left_out: str | None = None
    probes: tuple[Score, ...] = ()
    tuned: Score | None = None
    behind: float | None = None
    behind_interval: Interval | None = None

    @property
    def name(self) -> str:
        return self.model.rpartition("/")[2]

    @property
    def last(self) -> Score | None:
        """Its latest training."""
        return self.tuned or (self.probes[-1] if self.probes else None)

    @property
    def milliseconds(self) -> float:
        """Its latency; of one that was not timed: infinite."""
        return float("inf") if self.latency is None else self.latency.median_ms

    @property
    def latency_interval(self) -> Interval | None:
        return None if self.latency is None else self.latency.interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """The content of search.json, schema 1: the candidates in the order of the plan, all measured or not yet.

    `figure`: what accuracies are; mAP where images have several labels.
    """

    schema: int = 1
    kind: str = "search"
    created_utc: str
    data: str
    data_sha256: str
    validation_images: int
    target: str
    threads: int
    max_ms: float | None
    busy_share: float | None
    complete: bool
    candidates: tuple[Result, ...]
    machine: dict[str, str]
    figure: Figure = field(default="top-1", metadata=LATER)

    @property
    def finalists(self) -> tuple[Result, ...]:
        """Those that were fine-tuned, most accurate first; of two that are equally so, the faster."""
        tuned = [(each.tuned.accuracy, each) for each in self.candidates if each.tuned is not None]
        return tuple(each for _, each in sorted(tuned, key=lambda pair: (-pair[0], pair[1].milliseconds)))

    @property
    def best(self) -> Result | None:
        """The most accurate finalist."""
        return self.finalists[0] if self.finalists else None

    @property
    def as_good(self) -> Result | None:
        """The fastest finalist that is faster than the best, and not shown to be less accurate; None: there is none."""
        near = [
            each
            for each in self.finalists[1:]
            if each.milliseconds < self.finalists[0].milliseconds
            and each.behind_interval is not None
            and each.behind_interval.high >= 0
        ]
        return min(near, key=lambda each: each.milliseconds, default=None)


def new_search(plan: SearchPlan, data: DataSplit, missing: Mapping[str, str]) -> Search:
    """Nothing measured yet; `missing`: names of candidates without weights, each with the reason."""
    return Search(
        created_utc=now_utc(),
        data=data.name,
        data_sha256=data.digest,
        validation_images=len(data.of("val")),
        target=plan.target,
        threads=plan.threads,
        max_ms=plan.max_ms,
        busy_share=None,
        complete=False,
        candidates=tuple(
            Result(model=each.model, weights=each.weights, left_out=missing.get(each.name)) for each in plan.candidates
        ),
        machine=machine_facts(),
        figure="mAP" if data.multi_label else "top-1",
    )


def is_search(folder: Path) -> bool:
    return (folder / PLAN).is_file()


def write(folder: Path, content: SearchPlan | Search) -> None:
    with writing(folder / (PLAN if isinstance(content, SearchPlan) else SEARCH), force=True) as draft:
        draft.write_text(json.dumps(to_json(content), indent=1) + "\n", encoding="utf-8")


def check_no_search(folder: Path) -> None:
    """Raises UsageError where a search is in the folder, unless no candidate of it was fast enough to be trained."""
    if not is_search(folder):
        return
    candidates = load_search(folder).candidates if (folder / SEARCH).is_file() else ()
    trained = any(path.is_dir() for path in folder.iterdir())
    if not candidates or trained or any(each.left_out is None for each in candidates):
        raise UsageError(f"{folder} holds a search; go on with --resume {folder}, or choose another --name")


def load_plan(folder: Path) -> SearchPlan:
    if not is_search(folder):
        raise DataError(f"{folder}: no search (it has no {PLAN}); `edgeclf search` makes one under runs/")
    return from_json(SearchPlan, _read(folder / PLAN), str(folder / PLAN))


def load_search(folder: Path) -> Search:
    return from_json(Search, _read(folder / SEARCH), str(folder / SEARCH))


def _read(path: Path) -> object:
    try:
        return parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: {error}") from error
