"""`train`, and how an interrupted training goes on or ends: from paths and a config to a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeclf.data.split import open_data, require_images
from edgeclf.training import train as trainings
from edgeclf.training.adaptation.unlabelled import require_unlabelled
from edgeclf.training.choices import CurveSplit
from edgeclf.training.config import TrainConfig
from edgeclf.training.distillation.teacher import require_teacher
from edgeclf.training.distributed import Processes, joined
from edgeclf.training.run.outcome import Outcome
from edgeclf.training.run.run import Run
from edgeclf.training.teacher_gain import (
    TeacherGain,
    check_comparable,
    check_comparable_run,
    measure_teacher_gain,
    untaught_folder,
)
from edgeclf_export.sources.trained import require_weights
from edgeclf_runtime.bundle.teacher_info import TeacherInfo
from edgeclf_runtime.progress import SILENT, Progress

RUNS = Path("runs")


@dataclass(frozen=True, slots=True)
class Trained:
    """The result of a training.

    Attributes
    ----------
    run
        Its folder, which `edgeclf_export` and `edgeclf.evaluate` take.
    outcome
        The epoch that was kept, its figures on the validation images that selected it, and its temperature.
    epochs
        What was measured after each epoch, as history.jsonl holds it.
    teacher
        What it learnt from beside labels, and how good that is; None: nothing.
    gain
        What its teacher brought; None: nobody asked, or there was none.
    """

    run: Path
    outcome: Outcome
    epochs: tuple[dict[str, Any], ...]
    teacher: TeacherInfo | None = None
    gain: TeacherGain | None = None


def train(
    data: str | Path | None,
    config: TrainConfig,
    *,
    folder: str | Path | None = None,
    strict: bool = False,
    compare: CurveSplit | None = None,
    progress: Progress = SILENT,
) -> Trained:
    """A backbone fine-tuned on labelled images, as `edgeclf train` does it.

    Started by torchrun, each of its processes calls this with the same arguments; the first one writes.

    Parameters
    ----------
    data
        A folder of classes, a CSV, or the manifest that `edgeclf data split` wrote. None: there are no labels; a
        `teacher` predicts them for the `unlabelled` images of the config.
    folder
        Where the run goes; None: runs/MODEL-STRATEGY.
    strict
        Whether images that can't be used raise DataError, instead of being left out.
    compare
        With a teacher: train the same student without it, too, and compare the two on these images. A use of test
        images is counted.
    progress
        Gets steps, notes and warnings.

    Raises
    ------
    UsageError
        The folder holds a run, or the config contradicts itself.
    DataError
        Data that can't be read or split, or weights that are not available.
    GateError
        The loss is NaN or infinite.
    """
    place = Path(folder) if folder is not None else default_folder(config.model, config.strategy)

    if compare is not None:
        check_comparable(config, labelled=data is not None)

    def start(progress: Progress, processes: Processes) -> Run:
        if processes.is_first:
            Run.check_free(place)  # before any message about the data: that run is not this one
            if compare is not None:
                Run.check_free(untaught_folder(place))
        if config.teacher is not None:
            require_teacher(Path(config.teacher))
        if config.unlabelled is not None:
            require_unlabelled(Path(config.unlabelled))
        warn = None if strict else progress.warn
        images = None if data is None else open_data(Path(data), seed=config.seed, several_labels="known", warn=warn)
        if compare is not None and images is not None:
            require_images(images, compare, data, "compare")
        require_weights(config.model, config.weights, img_size=config.img_size, seed=config.seed)
        return trainings.train(config, images, place, progress, processes, strict=strict)

    return _together(start, progress, compare, strict=strict)


def resume_training(
    folder: str | Path, *, strict: bool = False, compare: CurveSplit | None = None, progress: Progress = SILENT
) -> Trained:
    """Ends an interrupted training, bit for bit as it would have ended on the same CPU with as many processes.

    With `compare`, what `train` takes, also a comparison that was interrupted, or that nobody has made yet. Raises
    UsageError where there is nothing left to do, DataError where there is no run, or its teacher is another by now.
    """

    def go_on(watch: Progress, processes: Processes) -> Run:
        run = Run.open(folder)
        if compare is not None:
            check_comparable_run(run, compare)
            if run.finished:
                return run
        return trainings.resume(run.path, watch, processes, strict=strict)

    return _together(go_on, progress, compare, strict=strict)


def finish_training(folder: str | Path, *, strict: bool = False, progress: Progress = SILENT) -> Trained:
    """Ends an interrupted training here and keeps its best epoch so far.

    Raises UsageError where it has ended already, DataError where no epoch has.
    """
    return _together(lambda watch, processes: trainings.finish(Path(folder), watch, processes, strict=strict), progress)


def default_folder(model: str, kind: str) -> Path:
    """The default folder of a run: runs/MODEL-KIND."""
    return RUNS / f"{model.rpartition('/')[2]}-{kind}"


def _together(
    work: Callable[[Progress, Processes], Run],
    progress: Progress,
    compare: CurveSplit | None = None,
    *,
    strict: bool = False,
) -> Trained:
    """Does the work in each process that torchrun started; the first one alone is watched."""
    with joined() as processes:
        watched = progress if processes.is_first else SILENT
        run, gain = work(watched, processes), None
        if compare is not None:
            gain = measure_teacher_gain(run, compare, watched, processes, strict=strict)
    taught = run.teacher()
    return Trained(run.path, run.outcome(), tuple(run.history()), None if taught is None else taught.info, gain)
