"""The surest wrong predictions, explained: what speaks for the class that was predicted, and what for the right one.

Where images have several labels: what speaks for the label that was predicted or missed.
"""

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
    several = any(mistake.decided is not None for mistake in chosen)
    progress.step("explain the surest mistakes", len(chosen) * images_per_map(perturbation, 1 if several else 2))
    explained: list[ExplainedMistake] = []
    pictures: dict[str, bytes] = {}
    for number, mistake in enumerate(chosen, 1):
        try:
            loaded = images[mistake.path].load(pixels)
        except ImageError:
            continue
        labels = (mistake.answer, mistake.label) if mistake.decided is None else (mistake.decided,)
        classes = {report.subject.classes.index(label): label for label in labels}
        found = tuple(explain_image(score, loaded, classes, perturbation, progress.advance))
        names = tuple(f"mistake-{number}-{which}.png" for which in ("predicted", "right")[: len(found)])
        pictures |= {name: png(overlay(loaded, shown)) for name, (_, shown) in zip(names, found, strict=True)}
        whys = [why for why, _ in found]
        answer = None if mistake.decided is None else f"{mistake.answer}, is {mistake.label}"
        explained.append(ExplainedMistake(mistake.path, whys[0], whys[1] if len(whys) > 1 else None, names, answer))
    return replace(report, explained=tuple(explained)), pictures
