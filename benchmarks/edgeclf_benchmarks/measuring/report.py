"""Schema 1 of a bench report: what one `edgeclf bench` on one machine measured, to JSON and back.

Times are milliseconds unless a name says otherwise; shares are 0..1; "points" are percentage points. A figure that
is not available is None, never 0. The raw samples are kept: every figure here can be computed again. The parts are
documented where they are measured: `report_rows.py`, `timing.py`, `parity.py`, `speed.py`, `machine_state.py`, …
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from edgeclf_benchmarks.measuring.machine_state import Caution, Conditions
from edgeclf_benchmarks.measuring.predictions import Origin
from edgeclf_benchmarks.measuring.report_rows import Row
from edgeclf_benchmarks.measuring.speed import Comparison, SameAgainstSame
from edgeclf_benchmarks.measuring.timing import Stage
from edgeclf_benchmarks.measuring.yardstick import Yardstick
from edgeclf_runtime.bundle.atomic_write import writing
from edgeclf_runtime.bundle.dataclass_json import from_json, to_json
from edgeclf_runtime.errors import DataError
from edgeclf_runtime.json_fields import LATER
from edgeclf_runtime.metrics.verdict import Verdict

SCHEMA = 1
KIND = "bench"


@dataclass(frozen=True, slots=True)
class Settings:
    """How it was measured; equal for all rows.

    Attributes
    ----------
    profile
        "default", "quick" or "mlperf" (LoadGen's SingleStream, MultiStream and Offline).
    rounds, pairs
        Rounds, and timed calls of each contender in each of them, at most (a slow contender's round is shorter).
    fresh_rounds
        In how many rounds the sessions were opened anew.
    batch_sizes, threads
        The sweeps; the first of each is the one that rows are compared at.
    seed
        Of the draw of images (also of those to corrupt), of the order of contenders, of the bootstrap.
    """

    profile: Literal["default", "quick", "mlperf"]
    rounds: int
    pairs: int
    fresh_rounds: int
    batch_sizes: tuple[int, ...]
    threads: tuple[int, ...]
    device: str
    hint: Literal["latency", "throughput"]
    compute_precision: str | None
    seed: int

    def __post_init__(self) -> None:
        for what, values in (("batch size", self.batch_sizes), ("number of threads", self.threads)):
            if not values or min(values) < 1:
                raise ValueError(f"wanted at least one {what}, each 1 or more, found {list(values)}")


@dataclass(frozen=True, slots=True)
class Image:
    """One labelled image: its path from the data's root, the number of its class in `Data.classes`, its group.

    Where images may have several labels, `labels` are their numbers, and `number` is -1.
    """

    path: str
    number: int
    group: str | None = None
    labels: tuple[int, ...] | None = field(default=None, metadata=LATER)


@dataclass(frozen=True, slots=True)
class Data:
    """The labelled images that all rows predicted, in one order. Classes are in the order of the data.

    Attributes
    ----------
    digest
        SHA-256 of the split manifest's items (paths, labels, splits, hashes, groups).
    images
        Those that could be read; the predictions of rows are in this order.
    unreadable
        Paths that gave no pixels, and why.
    selected_on
        Validation images of the split that a row was trained with are among these: checkpoint, temperature or precision
        were chosen on them.
    thumbnails
        Path -> small JPEG in base64, of some images that only one of a row and the reference predicts correctly.
    origin
        Where the splits come from: "whole" (there were none, and all images are evaluated), "given", "own" (a row was
        trained with them), "drawn" (by chance); None in reports of earlier versions.
    of_images
        Images of the data, all splits together.
    classes_present
        How many of `classes` have images, where it need not be all of them (--classes present).
    """

    name: str
    digest: str
    split: str
    classes: tuple[str, ...]
    images: tuple[Image, ...]
    unreadable: dict[str, str] = field(default_factory=dict)
    selected_on: bool = False
    thumbnails: dict[str, str] = field(default_factory=dict)
    origin: Origin | None = None
    of_images: int | None = None
    classes_present: int | None = None

    def __post_init__(self) -> None:
        for image in self.images:
            numbers = (image.number,) if image.labels is None else image.labels
            if not all(0 <= number < len(self.classes) for number in numbers):
                raise ValueError(f"{image.path!r} has the numbers {list(numbers)} of {len(self.classes)} classes")

    @property
    def in_words(self) -> str:
        """Which images of the data these are, and how many."""
        known = f" of {self.of_images:,}" if self.of_images is not None else ""
        which = "all of a folder without splits" if self.origin == "whole" else self.split
        which += ", drawn by chance" if self.origin == "drawn" else ""
        if self.origin == "whole" and self.of_images is not None and len(self.images) < self.of_images:
            which = "a folder without splits"
        several = any(image.labels is not None for image in self.images)
        classes = f"{len(self.classes):,} {'labels' if several else 'classes'}"
        if self.classes_present is not None:
            classes = f"{self.classes_present:,} of {classes} present"
        return f"{len(self.images):,}{known} images of {self.name} ({which}), {classes}"


@dataclass(frozen=True, slots=True)
class Gate:
    """One --fail-if, as it came out for one row. `found` is None where the report has no such figure."""

    expression: str
    row: str
    found: float | None
    limit: float
    verdict: Verdict
    line: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that one bench measured.

    Attributes
    ----------
    complete
        False: interrupted; what was measured until then is here.
    command
        The command line, as a shell takes it.
    seconds
        Wall time of the whole bench.
    reference
        Name of the row that parity and comparisons refer to; `reference_chosen`: by --reference.
    machine
        Facts of the machine, as proofs have them; `machine_id` tells machines apart.
    data
        None: latency alone was measured.
    yardsticks
        Fixed loads, timed in the rounds of the rows; (): a report from before there were any, or nothing was timed.
    rounds_busy_cores
        Cores that other processes kept busy in each of those rounds; (): not known.
    """

    schema: int = SCHEMA
    kind: Literal["bench"] = "bench"
    created_utc: str
    complete: bool
    command: str
    edgeclf: str
    seconds: float
    machine: dict[str, str]
    machine_id: str
    before: Conditions
    after: Conditions
    cautions: tuple[Caution, ...]
    settings: Settings
    reference: str
    data: Data | None
    rows: tuple[Row, ...]
    same_against_same: tuple[SameAgainstSame, ...]
    comparisons: tuple[Comparison, ...]
    gates: tuple[Gate, ...] = ()
    yardsticks: tuple[Yardstick, ...] = ()
    rounds_busy_cores: tuple[float, ...] = ()
    reference_chosen: bool = False

    def __post_init__(self) -> None:
        names = [row.name for row in self.rows]
        if len(set(names)) != len(names):
            raise ValueError("two rows have the same name")
        if self.reference not in names:
            raise ValueError(f"the reference {self.reference!r} is none of the rows")
        images = len(self.data.images) if self.data is not None else 0
        for row in self.rows:
            if row.answers is not None and len(row.answers.numbers) != images:
                raise ValueError(f"{len(row.answers.numbers)} predictions of {row.name!r} for {images} images")

    def row(self, name: str) -> Row:
        """The row of that name. Raises KeyError."""
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(name)

    def comparison(self, row: str, stage: Stage, batch: int, threads: int) -> Comparison | None:
        """That row's time against the reference's; None where the two weren't compared."""
        wanted = (row, stage, batch, threads)
        found = (each for each in self.comparisons if (each.row, each.stage, each.batch, each.threads) == wanted)
        return next(found, None)

    def aa_noise(self, stage: Stage, batch: int, threads: int) -> float | None:
        """The ratio, above 1, that the reference may show against itself; None where that wasn't measured."""
        wanted = (stage, batch, threads)
        found = (each.floor for each in self.same_against_same if (each.stage, each.batch, each.threads) == wanted)
        return next(found, None)


def report_document(report: Report) -> Any:
    """The report as JSON, its schema first."""
    return to_json(report)


def write_report(report: Report, path: Path, *, force: bool = False) -> None:
    """Writes the report in one step. Raises UsageError where `path` exists and `force` is False."""
    with writing(path, force=force) as draft:
        draft.write_text(json.dumps(report_document(report), allow_nan=False) + "\n")


def read_report(path: str | Path) -> Report:
    """The report in a file. Raises DataError for a file that is none, is damaged, or has another schema."""
    path = Path(path)
    try:
        content: Any = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; wanted a report that `edgeclf bench` wrote") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON ({error}); wanted a report that `edgeclf bench` wrote") from error
    if not isinstance(content, dict) or content.get("kind") != KIND or type(content.get("schema")) is not int:
        raise DataError(f"{path}: no bench report; `edgeclf bench BUNDLE… -o {path.name}` writes one")
    if content["schema"] != SCHEMA:
        advice = "update edgeclf" if content["schema"] > SCHEMA else "measure again"
        raise DataError(f"{path}: schema {content['schema']}, this edgeclf reads schema {SCHEMA}; {advice}")
    return from_json(Report, content, str(path))
