"""`train`, and how an interrupted training goes on or ends: from paths and a config to a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeclf.data.split import open_data
from edgeclf.training import train as trainings
from edgeclf.training.config import TrainConfig
from edgeclf.training.distributed import Processes, joined
from edgeclf.training.run.run import Outcome, Run
from edgeclf_export.sources.trained import require_weights
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
    """

    run: Path
    outcome: Outcome
    epochs: tuple[dict[str, Any], ...]


def train(
    data: str | Path,
    config: TrainConfig,
    *,
    folder: str | Path | None = None,
    strict: bool = False,
    progress: Progress = SILENT,
) -> Trained:
    """A backbone fine-tuned on labelled images, as `edgeclf train` does it.

    Started by torchrun, each of its processes calls this with the same arguments; the first one writes.

    Parameters
    ----------
    data
        A folder of classes, a CSV, or the manifest that `edgeclf data split` wrote.
    folder
        Where the run goes; None: runs/MODEL-STRATEGY.
    strict
        Whether images that can't be used raise DataError, instead of being left out.
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

    def start(progress: Progress, processes: Processes) -> Run:
        if processes.is_first:
            Run.check_free(place)  # before any message about the data: that run is not this one
        require_weights(config.model, config.weights, img_size=config.img_size, seed=config.seed)
        images = open_data(Path(data), seed=config.seed)
        return trainings.train(config, images, place, progress, processes, strict=strict)

    return _together(start, progress)


def resume_training(folder: str | Path, *, strict: bool = False, progress: Progress = SILENT) -> Trained:
    """Ends an interrupted training, bit for bit as it would have ended on the same CPU with as many processes.

    Raises UsageError where it has ended already, DataError where there is none.
    """
    return _together(lambda watch, processes: trainings.resume(Path(folder), watch, processes, strict=strict), progress)


def finish_training(folder: str | Path, *, strict: bool = False, progress: Progress = SILENT) -> Trained:
    """Ends an interrupted training here and keeps its best epoch so far.

    Raises UsageError where it has ended already, DataError where no epoch has.
    """
    return _together(lambda watch, processes: trainings.finish(Path(folder), watch, processes, strict=strict), progress)


def default_folder(model: str, kind: str) -> Path:
    """The default folder of a run: runs/MODEL-KIND."""
    return RUNS / f"{model.rpartition('/')[2]}-{kind}"


def _together(work: Callable[[Progress, Processes], Run], progress: Progress) -> Trained:
    """Does the work in each process that torchrun started; the first one alone is watched."""
    with joined() as processes:
        run = work(progress if processes.is_first else SILENT, processes)
    return Trained(run.path, run.outcome(), tuple(run.history()))
