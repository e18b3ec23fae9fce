"""The end of a training: what is kept of it, and what is fitted on its validation images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeclf.evaluation.label_thresholds import BEST_F1, fit_label_thresholds
from edgeclf.training.loop.trainer import Trainer
from edgeclf.training.run.checkpoint import save_tensors
from edgeclf.training.run.outcome import Outcome
from edgeclf.training.run.plot import draw_curves
from edgeclf.training.run.run import MODEL, WEIGHTS
from edgeclf.training.waiting import waiting_share
from edgeclf_runtime.bundle.atomic_write import writing
from edgeclf_runtime.bundle.dataclass_json import to_json
from edgeclf_runtime.bundle.manifest import Thresholds
from edgeclf_runtime.metrics.metrics import to_scores
from edgeclf_runtime.metrics.temperature import fit_label_temperature, fit_temperature

_LONG_WAIT = 0.2


def write_outcome(trainer: Trainer, logits: NDArray[np.float32], *, cut_short: bool) -> None:
    run, context, state = trainer.run, trainer.context, trainer.checkpoint
    best, teacher = state.history[state.best_epoch - 1], run.teacher()
    info = None if teacher is None else teacher.info
    beside = 0 if context.distillation is not None or (more := run.unlabelled()) is None else len(more.images)
    images = len(context.train) + beside
    with writing(run.path / WEIGHTS, force=True) as draft:
        save_tensors(state.best, draft)
    run.become_newest()
    with writing(run.path / "curves.png", force=True) as draft:
        title = f"{run.name}: {run.config().model}, {images:,} training images"
        draw_curves(state.history, draft, title=title, best_epoch=state.best_epoch)
    several = context.val.multi_label
    fit_it = fit_label_temperature if several else fit_temperature
    fit = None if run.without_labels else fit_it(logits, context.val.labels)
    temperature = 1.0 if fit is None else fit.temperature
    outcome = Outcome(
        best_epoch=state.best_epoch,
        training_seconds=round(state.seconds, 1),
        training_images=images,
        data_sha256=run.data().digest,
        scores={name: value for name, value in best.items() if name.startswith("val_")},
        waiting_share=waiting_share(state.history),
        temperature=temperature,
        thresholds=_label_thresholds(trainer, logits, temperature) if several else Thresholds(),
        temperature_fit=fit,
        cut_short=cut_short,
    )
    run.write_json(MODEL, to_json(outcome))
    trainer.progress.note("temperature 1: there are no labels to fit it on" if fit is None else str(fit))
    if fit is not None and fit.caution is not None:
        trainer.progress.warn(fit.caution)
    own = best["val_map" if several else "val_top1"]
    if info is not None and info.evaluated is not None and info.evaluated[1] < own:
        figure, value = info.evaluated
        trainer.progress.warn(
            f"the teacher {info.name} is worse than its student: {figure} {value:.3f} against {own:.3f} on the "
            f"{info.images} validation images; a better teacher, or a lower --teacher-share, may help"
        )
    if (share := outcome.waiting_share) is not None:
        remedy = "; more --workers, smaller files or --image-cache on may help" if share > _LONG_WAIT else ""
        trainer.progress.note(f"waiting for images took {share:.0%} of the time of the training steps{remedy}")


def _label_thresholds(trainer: Trainer, logits: NDArray[np.float32], temperature: float) -> Thresholds:
    """Those of the highest F1 of each label on the validation images; `eval --operating-point` chooses others."""
    classes, targets = trainer.run.data().classes, trainer.context.val.labels
    chosen = fit_label_thresholds(to_scores(logits, "sigmoid", temperature), targets, classes, BEST_F1)
    others = f"`edgeclf eval {trainer.run.path} --operating-point precision=0.9` chooses others"
    images = f"{chosen.images:,} validation images"
    if trainer.run.without_labels:
        images = f"{chosen.images:,} held-out images, with the teacher's predictions at its own thresholds as the truth"
        others = "choose others with labelled images: `edgeclf eval BUNDLE DATA --operating-point f1`"
    trainer.progress.note(f"thresholds for the highest F1 of each label on {images}: {chosen.range_in_words}; {others}")
    for caution in chosen.cautions:
        trainer.progress.warn(caution)
    return Thresholds(per_class=chosen.values)
