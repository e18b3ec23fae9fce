"""How long each candidate takes on this machine: exported to the target, then timed side by side in rounds."""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeclf.training.config import TrainConfig
from edgeclf.training.search.candidates import Candidate
from edgeclf.training.search.state import Timed
from edgeclf_benchmarks.measuring.contenders import BundleContender, pixels_of
from edgeclf_benchmarks.measuring.rounds import Plan, Record, measure_rounds
from edgeclf_export.exportable import Training
from edgeclf_export.exporter import export_each
from edgeclf_export.options import ExportOptions
from edgeclf_export.sources.trained import exportable_from_training, load_for_training
from edgeclf_export.targets.registry import TARGETS
from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.capacity import usable_cores
from edgeclf_runtime.errors import BackendError, GateError, UsageError, one_line
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.metrics.percentiles import median_interval
from edgeclf_runtime.progress import SILENT, Progress
from edgeclf_runtime.session import BACKENDS

PRECISION = "fp32"
_EXPORTS = "exports"
_ROUNDS, _FRESH_ROUNDS, _WARM_UP_S = 10, 3, 2.0
_SECONDS_EACH, _LEAST_S = 4.0, 10.0
_IMAGES = 8


@dataclass(frozen=True, slots=True)
class Latencies:
    """By name of candidate: its latency, the side of its images, or why it can't be exported.

    `busy_share`: which share of the cores others kept busy meanwhile; None where the system does not report it.
    """

    timed: dict[str, Timed]
    img_px: dict[str, int]
    refused: dict[str, str]
    busy_share: float | None


def require_engine(target: str) -> None:
    """Raises UsageError for an unknown target, BackendError where its engine can't run here."""
    if target not in TARGETS:
        raise UsageError(f"no target {target!r}; choose one of {', '.join(TARGETS)}")
    BACKENDS[target].import_library()
    on_device = TARGETS[target].on_device
    if on_device is not None and (reason := on_device.why_not_here()) is not None:
        raise BackendError(f"no {on_device.engine} engine can be built here: {reason}; search on the device's machine")


def time_candidates(
    candidates: Sequence[Candidate],
    training: TrainConfig,
    data: DataSplit,
    target: str,
    threads: int,
    folder: Path,
    progress: Progress = SILENT,
) -> Latencies:
    """The latency of each candidate with a head for the data's classes, as its trained network will have it.

    Exports lie in `folder` until all are timed: one that was interrupted begins with the next. Raises GateError where
    none can be exported, and BackendError and DataError as an export does.
    """
    bundles: dict[str, Bundle] = {}
    refused: dict[str, str] = {}
    for number, each in enumerate(candidates):
        progress.step(f"exporting {each.name} to {target} ({number + 1} of {len(candidates)})")
        try:
            bundles[each.name] = _exported(each, training, data, target, folder / _EXPORTS)
        except (GateError, UsageError) as error:
            refused[each.name] = f"no export to {target}: {one_line(error)}"
    if not bundles:
        raise GateError(next(iter(refused.values()), "there is no candidate to export"))
    files = [image.path.read_bytes() for image in data.of("val")[:_IMAGES]]
    taken, busy = _measure(tuple(bundles.values()), files, threads, progress)
    sides = {name: pixels_of(bundle).crop_px[0] for name, bundle in bundles.items()}
    shutil.rmtree(folder / _EXPORTS)
    return Latencies(dict(zip(bundles, taken, strict=True)), sides, refused, busy)


def _exported(candidate: Candidate, config: TrainConfig, data: DataSplit, target: str, folder: Path) -> Bundle:
    place = folder / f"{candidate.name}-{target}-{PRECISION}"
    if not place.exists():
        architecture, module = load_for_training(
            candidate.model,
            candidate.weights,
            labels=data.classes,
            img_size=config.img_size,
            seed=config.seed,
            value_range=config.value_range,
        )
        proof_files = tuple(image.path for image in data.of("val")[:_IMAGES])
        untrained = Training(run=candidate.name, seconds=0.0, data_sha256=data.digest)
        exportable = exportable_from_training(architecture, module.state_dict(), untrained, proof_files)
        options = ExportOptions(targets=(target,), precision=PRECISION, output=folder, name=candidate.name)
        place = [made.path for made in export_each(exportable, options)][-1]  # an engine that was built here comes last
    return Bundle.open(place)


def _measure(
    bundles: Sequence[Bundle], files: Sequence[bytes], threads: int, progress: Progress
) -> tuple[list[Timed], float | None]:
    contenders = [BundleContender(bundle.name, bundle) for bundle in bundles]
    plan = Plan(_ROUNDS, _FRESH_ROUNDS, max(_LEAST_S, _SECONDS_EACH * len(bundles)), _WARM_UP_S)
    record, options = Record(1, threads), SessionOptions(threads=threads)
    measure_rounds(contenders, files, ("infer",), options, plan, record, origin=time.perf_counter(), progress=progress)
    found = []
    for each in contenders:
        rounds_ms = record.taken[each.name, "infer"].rounds_ms
        median = statistics.median(sample for taken in rounds_ms for sample in taken)
        found.append(Timed(median, median_interval(rounds_ms)))
    busy = statistics.mean(record.busy_cores) / usable_cores() if record.busy_cores else None
    return found, busy
