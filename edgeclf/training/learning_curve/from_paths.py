"""`learning_curve`: from a path and configs to measured points, and the plot and page of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgeclf.data.split import open_data, require_images
from edgeclf.data.usable import find_unusable, refuse_unusable
from edgeclf.training.choices import CurveSplit
from edgeclf.training.config import TrainConfig
from edgeclf.training.from_paths import default_folder
from edgeclf.training.learning_curve.curve import PAGE, PLOT, LearningCurve, Plan, check_free, resume_curve, start_curve
from edgeclf.training.learning_curve.page import learning_page
from edgeclf.training.learning_curve.plot import draw_learning_curve
from edgeclf_export.sources.trained import require_weights
from edgeclf_runtime.bundle.atomic_write import writing
from edgeclf_runtime.progress import SILENT, Progress


def learning_curve(
    data: str | Path,
    configs: Sequence[TrainConfig],
    fractions: Sequence[float],
    *,
    baseline: bool = False,
    evaluated_on: CurveSplit = "val",
    folder: str | Path | None = None,
    strict: bool = False,
    progress: Progress = SILENT,
) -> LearningCurve:
    """Each config trained on each part of the training images, as `edgeclf train --fraction` does it.

    Parameters
    ----------
    configs
        One for each strategy, all of one model and seed.
    fractions
        Shares of the training images, above 0 and at most 1; each part lies within the next.
    baseline
        Whether HOG and a support vector machine are measured beside them.
    evaluated_on
        The images that the points are evaluated on. Each use of test images is counted.
    folder
        Where the points, curve.json, curve.png and curve.html go; None: runs/MODEL-curve.

    Raises
    ------
    UsageError, DataError, GateError
        As `edgeclf.train` does; finished points are kept, and `resume_learning_curve` goes on from there.
    """
    plan = Plan(trainings=tuple(configs), baseline=baseline, fractions=tuple(sorted(fractions)), judged_on=evaluated_on)
    first = plan.trainings[0]
    place = Path(folder) if folder is not None else default_folder(first.model, "curve")
    check_free(place)
    warn = None if strict else progress.warn
    images = open_data(Path(data), seed=first.seed, several_labels="known", warn=warn)
    require_images(images, evaluated_on, data, "evaluate")
    require_weights(first.model, first.weights, img_size=first.img_size, seed=first.seed)  # the baseline takes minutes
    if strict:
        refuse_unusable(images, find_unusable(images.images, first.value_range))
    return _published(start_curve(plan, images, place, progress), place)


def resume_learning_curve(folder: str | Path, *, progress: Progress = SILENT) -> LearningCurve:
    """Measures the points of an interrupted learning curve that are still missing."""
    return _published(resume_curve(Path(folder), progress), Path(folder))


def _published(curve: LearningCurve, folder: Path) -> LearningCurve:
    with writing(folder / PLOT, force=True) as draft:
        draw_learning_curve(curve, draft)
    with writing(folder / PAGE, force=True) as draft:
        draft.write_text(learning_page(curve, (folder / PLOT).read_bytes()), encoding="utf-8")
    return curve
