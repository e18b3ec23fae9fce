"""A run that several commands may ask for: trained once, gone on with where it was interrupted, then taken as it is."""

from __future__ import annotations

from pathlib import Path

from edgeclf.training.config import TrainConfig
from edgeclf.training.run.run import Run
from edgeclf.training.train import resume, train
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.progress import SILENT, Progress


def kept_run(config: TrainConfig, data: DataSplit, place: Path, progress: Progress = SILENT) -> Run:
    """The run at `place`, whose training has ended. Raises as `train` does; what was trained until then is kept."""
    if not Run.is_at(place):
        return train(config, data, place, progress)
    return Run(place) if Run(place).finished else resume(place, progress)
