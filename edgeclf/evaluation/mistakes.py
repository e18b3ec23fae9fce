"""The surest wrong predictions, explained: what speaks for the class that was predicted, and what for the right one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from edgeclf.evaluation.evaluation_report import EvaluationReport, ExplainedMistake
from edgeclf.explanation.explanation import explain_image, images_per_map
from edgeclf.explanation.overlay import overlay, png
from edgeclf.explanation.rise import Perturbation, Scorer
from edgeclf_runtime.errors import ImageError
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.images.pixels import Pixels
from edgeclf_runtime.progress import SILENT, Progress

MOST = 8  # a map costs hundreds of predictions


def explain_mistakes(
    report: EvaluationReport, data: DataSplit, pixels: Pixels, score: Scorer, progress: Progress = SILENT
) -> tuple[EvaluationReport, Mapping[str, bytes]]:
    """The report with at most 8 of its surest mistakes explained, and their pictures by name.

    `score`: (N, H, W, 3) uint8 from `pixels` -> (N, classes) scores. An image that has gone meanwhile is left out.
    """
    chosen, perturbation = report.worst[:MOST], Perturbation()
    images = {image.name: image for image in data.images}
    progress.step("explain the surest mistakes", len(chosen) * images_per_map(perturbation, classes=2))
    explained: list[ExplainedMistake] = []
    pictures: dict[str, bytes] = {}
    for number, mistake in enumerate(chosen, 1):
        try:
            loaded = images[mistake.path].load(pixels)
        except ImageError:
            continue
        classes = {report.subject.classes.index(label): label for label in (mistake.answer, mistake.label)}
        predicted, right = explain_image(score, loaded, classes, perturbation, progress.advance)
        names = (f"mistake-{number}-predicted.png", f"mistake-{number}-right.png")
        pictures |= {
            name: png(overlay(loaded, found)) for name, (_, found) in zip(names, (predicted, right), strict=True)
        }
        explained.append(ExplainedMistake(mistake.path, predicted[0], right[0], names))
    return replace(report, explained=tuple(explained)), pictures
