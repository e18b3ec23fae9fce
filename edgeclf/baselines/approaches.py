"""Approaches side by side on the same test images, each as the bundle that would be deployed: the demo's table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeclf.evaluation.report import evaluate_bundle
from edgeclf_benchmarks.measuring.timing import median_latencies_ms
from edgeclf_runtime.backends import hog_svm
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.metrics.intervals import Interval
from edgeclf_runtime.progress import SILENT, Progress


@dataclass(frozen=True, slots=True)
class Approach:
    """A bundle's row: accuracy on the test images, milliseconds per image on one thread, bytes, seconds of training.

    `accuracy` is top-1, or mAP where images have several labels: `figure` says which.
    """

    name: str
    target: str
    images: int
    accuracy: float
    interval: Interval | None
    median_ms: float
    bundle_bytes: int
    training_seconds: float | None
    figure: str = "top-1"

    @property
    def is_baseline(self) -> bool:
        return self.target == hog_svm.BACKEND.name


def compare_approaches(paths: Sequence[Path], data: DataSplit, *, progress: Progress = SILENT) -> tuple[Approach, ...]:
    """Evaluates every bundle on the test images (each use is counted) and times them in turn."""
    bundles = [Bundle.open(path) for path in paths]
    latencies = median_latencies_ms(bundles)
    rows = []
    for bundle, median_ms in zip(bundles, latencies, strict=True):
        found = evaluate_bundle(bundle, data, "test", progress=progress).evaluation.main_figure
        rows.append(
            Approach(
                name=bundle.name,
                target=bundle.manifest.target,
                images=len(data.of("train")),
                figure=found.name,
                accuracy=found.value or 0.0,
                interval=found.interval,
                median_ms=median_ms,
                bundle_bytes=sum(entry.bytes for entry in bundle.manifest.files.values()),
                training_seconds=bundle.manifest.provenance.training_seconds,
            )
        )
    return tuple(rows)


def verdict_on(approaches: Sequence[Approach]) -> str:
    """One sentence: which approach is most accurate, and whether it beats the classical baseline."""
    best = max(approaches, key=lambda row: row.accuracy)
    baseline = next((row for row in approaches if row.is_baseline), None)
    if baseline is None or best.is_baseline:
        return f"{best.name} is the most accurate here" + (": the classical baseline wins" if best.is_baseline else "")
    if baseline.interval and best.interval and baseline.interval.high >= best.interval.low:
        return f"{best.name} leads, but the baseline's interval overlaps: these images can't tell them apart"
    points = 100 * (best.accuracy - baseline.accuracy)
    return f"{best.name} beats the classical baseline by {points:.1f} points, intervals apart"
