"""What lies in a folder: runs and bundles, each with its date, model, data, accuracy and state."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from edgeclf.evaluation.report import REPORT
from edgeclf.evaluation.test_set_usage import find_test_result
from edgeclf.training.run.run import CHECKPOINT, CONFIG, HISTORY, MODEL, SPLIT, TEACHER
from edgeclf.wording import count
from edgeclf_benchmarks.page.document import document
from edgeclf_benchmarks.page.escaping import text
from edgeclf_benchmarks.page.html_tables import Table, to_html
from edgeclf_runtime.bundle.atomic_write import MANIFEST
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.dataclass_json import parse_json
from edgeclf_runtime.deploy.machine_proofs import find_proofs
from edgeclf_runtime.errors import EdgeclfError
from edgeclf_runtime.images.decode import is_passed_over

_DEEPEST = 4  # folders below the one that was named
Evaluated = Mapping[str, tuple[float, str]]
AGREEMENT = "agreement with its teacher"  # of a run without labels
HEADINGS = ("", "kind", "date", "model", "data", "accuracy", "state")


@dataclass(frozen=True, slots=True)
class Listed:
    """One run or bundle.

    Attributes
    ----------
    date
        When it was made, UTC, "2026-11-26 13:10"; "": not known.
    data
        Name of the data set, and the beginning of the digest of its split.
    top1, measured_on
        Accuracy as a share and what it is of: what `edgeclf eval` found, the validation images that selected a run, or
        the test images on which `edgeclf baseline`, or the search for an int8 model, evaluated the bundle.
    mean_average_precision
        In the place of the accuracy where images have several labels.
    state
        A run: finished, or the epochs that it has; a bundle: its newest proof, and what it needs before it runs.
    """

    path: str
    kind: Literal["run", "bundle"]
    date: str
    model: str
    data: str
    top1: float | None
    measured_on: str
    state: str
    mean_average_precision: float | None = None

    @property
    def accuracy(self) -> str:
        if self.mean_average_precision is not None:
            return f"mAP {self.mean_average_precision:.3f} ({self.measured_on})"
        return "n/a" if self.top1 is None else f"{self.top1:.3f} ({self.measured_on})"

    @property
    def cells(self) -> tuple[str, ...]:
        """In the order of `HEADINGS`."""
        return (self.path, self.kind, self.date or "n/a", self.model, self.data or "n/a", self.accuracy, self.state)


def list_folder(folder: Path) -> list[Listed]:
    """Runs and bundles at and below `folder`, the newest first; packed bundles are listed like folders.

    Their accuracy is that of the newest `edgeclf eval` whose report lies there, too; else what made them measured.
    """
    places = list(_places(folder))
    reports = [_read(path) for kind, path in places if kind == "evaluation"]
    evaluated = _evaluations(reports, "evaluation", "top1")
    labels = _evaluations(reports, "multi-label evaluation", "mean_average_precision")
    found = [_run(path, evaluated, labels) for kind, path in places if kind == "run"]
    found += [_bundle(path, evaluated, labels) for kind, path in places if kind == "bundle"]
    return sorted(found, key=lambda each: (each.date, each.path), reverse=True)


def _places(folder: Path) -> Iterator[tuple[str, Path]]:
    for directory, folders, names in os.walk(folder):
        here = Path(directory)
        kind = "run" if {CONFIG, SPLIT} <= set(names) else "bundle" if MANIFEST in names else ""
        if kind:
            yield kind, here
            folders.clear()
            continue
        if REPORT in names:
            yield "evaluation", here / REPORT
        yield from (("bundle", here / name) for name in names if name.endswith(".tar") and _is_bundle(here / name))
        deep = len(here.relative_to(folder).parts) >= _DEEPEST
        folders[:] = [] if deep else sorted(each for each in folders if not is_passed_over(each))


def _evaluations(reports: Iterable[Mapping[str, Any]], kind: str, figure: str) -> dict[str, tuple[float, str]]:
    """Digest of a bundle, or name of a run -> that figure, and which images it is of; the newest counts."""
    newest: dict[str, tuple[float, str]] = {}
    of_kind = [report for report in reports if report.get("kind") == kind]
    for report in sorted(of_kind, key=lambda each: str(each.get("created_utc"))):
        subject, figures = _object(report, "subject"), _object(report, "evaluation")
        key = subject.get("name") if subject.get("kind") == "run" else subject.get("digest")
        if isinstance(value := figures.get(figure), float):
            newest[str(key)] = (value, f"{figures.get('images')} {report.get('split')} images of {report.get('data')}")
    return newest


def _is_bundle(path: Path) -> bool:
    try:
        Bundle.open(path)
    except EdgeclfError:
        return False
    return True


def _run(path: Path, evaluated: Evaluated, labels: Evaluated) -> Listed:
    config, outcome, split = (_read(path / name) for name in (CONFIG, MODEL, SPLIT))
    history = path / HISTORY
    epochs = sum(1 for line in history.read_bytes().splitlines() if line) if history.is_file() else 0
    state = "finished" if outcome else f"not finished: {count(epochs, 'epoch')}, can be resumed"
    if outcome.get("cut_short"):
        state = f"ended early, by --finish after {count(epochs, 'epoch')}"
    if not outcome and not (path / CHECKPOINT).exists():
        state = "damaged: neither a result nor a checkpoint"
    teacher = _object(_read(path / TEACHER), "info")
    scores, run = _object(outcome, "scores"), path.resolve().name
    where = AGREEMENT if teacher.get("without_labels") else "validation, selected on it"
    several = bool(split.get("multi_label"))
    figure, measured_on = (labels if several else evaluated).get(
        run, (scores.get("val_map" if several else "val_top1"), where)
    )
    figure = figure if isinstance(figure, float) else None
    name = Path(str(split.get("root", ""))).name
    return Listed(
        path=str(path),
        kind="run",
        date=_date(path / (MODEL if outcome else CONFIG)),
        model=_taught(str(config.get("model", "")), teacher.get("name")),
        data=" ".join(filter(None, (name, str(outcome.get("data_sha256", ""))[:12]))),
        top1=None if several else figure,
        measured_on=measured_on,
        state=state,
        mean_average_precision=figure if several else None,
    )


def _bundle(path: Path, evaluated: Evaluated, labels: Evaluated) -> Listed:
    try:
        bundle = Bundle.open(path)
        proofs = find_proofs(bundle)
    except EdgeclfError as error:
        return Listed(str(path), "bundle", "", "", "", None, "", f"damaged: {error}")
    manifest = bundle.manifest
    final = manifest.ladder.final if manifest.ladder else None
    own = find_test_result(bundle.sidecar, bundle.digest) or (final and (final.value, final.source))
    several = manifest.multi_label
    figure, measured_on = (labels if several else evaluated).get(bundle.digest) or own or (None, "")
    counted = [each.proof for each in proofs if each.counts and each.proof]
    newest = max(counted, key=lambda each: each.created_utc, default=None)
    proof = "not proven" if newest is None else f"proof: {newest.verdict}"
    decisive = manifest.ladder.decisive if manifest.ladder else None
    if decisive is not None and decisive.verdict != "pass":  # its logits may be its own graph's, and its accuracy open
        proof += f"; accuracy gate: {decisive.verdict}"
    made = manifest.provenance
    precision = manifest.compute_precision
    return Listed(
        path=str(path),
        kind="bundle",
        date=made.created_utc[:16].replace("T", " "),
        model=_taught(
            f"{made.backbone.removeprefix('timm/')}, {manifest.target} {precision}",
            made.teacher.name if made.teacher else None,
        ),
        data=" ".join(filter(None, (f"run {made.run}" if made.run else "", (made.data_sha256 or "")[:12]))),
        top1=None if several else figure,
        measured_on=measured_on,
        mean_average_precision=figure if several else None,
        state=proof + ("; to be built on the device" if manifest.state == "portable" else ""),
    )


def _taught(model: str, teacher: str | None) -> str:
    return f"{model}, taught by {teacher}" if teacher else model


def _date(path: Path) -> str:
    moment = datetime.fromtimestamp(path.stat().st_mtime, timezone.utc)
    return moment.strftime("%Y-%m-%d %H:%M")


def _read(path: Path) -> Mapping[str, Any]:
    """{} for a file that is not there, or holds no object."""
    try:
        found = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _object(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """{} for a field that is missing, or holds something else."""
    found = content.get(name)
    return found if isinstance(found, dict) else {}


def listing_page(folder: Path, found: list[Listed]) -> str:
    """The list as one HTML page."""
    words = ("kind", "date", "model", "data", "accuracy", "state")
    table = Table("The newest first", ("path", *HEADINGS[1:]), tuple(each.cells for each in found), words=words)
    runs = sum(each.kind == "run" for each in found)
    about = f"Runs: {runs}. Bundles: {len(found) - runs}."
    return document(
        f"Runs and bundles in {folder.resolve().name or folder}", to_html(table), over="edgeclf runs", about=text(about)
    )
