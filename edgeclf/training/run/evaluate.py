"""A run judged before it is a bundle, by its own PyTorch network; and thresholds chosen on its validation images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgeclf.data.samples import Split
from edgeclf.data.split import Item, SplitManifest
from edgeclf.data.usable import leave_out
from edgeclf.evaluation.inference import Answers, ask, count_test_images, items_of, match_labels
from edgeclf.evaluation.judgement import Judgement, Subject
from edgeclf.evaluation.report import judge_answers
from edgeclf.evaluation.thresholds import OperatingPoint, Wanted, fit_thresholds
from edgeclf.training.run.run import MODEL, Run
from edgeclf_benchmarks.measuring.predictions import Origin
from edgeclf_export.exportable import Exportable
from edgeclf_export.sources.weights import digest_state
from edgeclf_runtime.bundle.dataclass_json import to_json
from edgeclf_runtime.metrics.metrics import to_scores
from edgeclf_runtime.progress import SILENT, Progress


def judge_run(
    run: Run,
    data: SplitManifest,
    split: str = "test",
    *,
    batch_size: int = 16,
    origin: Origin | None = None,
    present: bool = False,
    progress: Progress = SILENT,
) -> Judgement:
    """What a run's answers are worth; a look at test images is recorded in the run first. Raises as `judge_bundle`.

    Which images trained it, and which selected its best epoch, is known by their bytes, wherever they lie now.
    """
    outcome, exportable = run.outcome(), run.exportable()
    own = outcome.data_sha256 == data.digest
    items = items_of(leave_out(data, run.left_out()) if own else data, split)
    match_labels(exportable.labels, data.classes, run.name, data.root)
    digest = digest_state(run.weights())
    use = count_test_images(run.path, items, subject=digest, data_sha256=data.digest, verb="eval")
    answers = _ask(exportable, data, items, batch_size, progress)
    subject = Subject(
        kind="run",
        name=run.name,
        digest=digest,
        target="pytorch",
        weights_precision="fp32",
        classes=exportable.labels,
        temperature=outcome.temperature,
        thresholds=outcome.thresholds,
        temperature_fit=outcome.temperature_fit,
    )
    known = known_splits(run)
    there = [known.get(item.sha256) for item in answers.items]
    other_data = not own and split != "train" and "train" in there
    return judge_answers(
        answers,
        subject,
        data,
        split,
        use=use,
        other_data=other_data,
        origin=origin or ("own" if own else "given"),
        chosen=there.count("val"),
        present=present,
    )


def known_splits(run: Run) -> dict[str, Split]:
    """SHA-256 of each image of the run's data -> its split."""
    return {item.sha256: item.split for item in run.data().items}


def set_operating_point(
    run: Run, wanted: Wanted, *, per_class: bool = False, progress: Progress = SILENT
) -> OperatingPoint:
    """Chooses thresholds on the run's validation images and keeps them in the run, for its bundles to carry.

    Raises GateError where none reaches what is wanted; the run keeps what it had.
    """
    outcome, data = run.outcome(), run.data()
    exportable = run.exportable()
    answers = _ask(exportable, data, run.usable_data().of("val"), 16, progress)
    scores = to_scores(answers.logits, "softmax", outcome.temperature)
    point = fit_thresholds(scores, answers.numbers(exportable.labels), wanted, per_class=per_class)
    point.check()
    run.write_json(MODEL, to_json(replace(outcome, thresholds=point.thresholds)))
    return point


def _ask(
    exportable: Exportable, data: SplitManifest, items: Sequence[Item], batch_size: int, progress: Progress
) -> Answers:
    def answer(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return exportable.answer(pixels)

    return ask(answer, exportable.pixels, len(exportable.labels), data, items, batch_size=batch_size, progress=progress)
