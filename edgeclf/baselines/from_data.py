"""`baseline`: HOG and a support vector machine, from the path of labelled images to a proven bundle."""

from __future__ import annotations

from pathlib import Path

from edgeclf.baselines.baseline import Baseline, BaselineOptions, make_baseline
from edgeclf.data.split import open_data
from edgeclf_runtime.progress import SILENT, Progress


def baseline(
    data: str | Path, options: BaselineOptions = BaselineOptions(), *, progress: Progress = SILENT
) -> Baseline:
    """The classical baseline on a folder of classes, a CSV or a split manifest, as `edgeclf baseline` makes it.

    Raises as `make_baseline`, and DataError for data that can't be read or split.
    """
    warn = None if options.strict else progress.warn
    images = open_data(Path(data), options.seed, several_labels="known", warn=warn, progress=progress)
    return make_baseline(images, options, progress=progress)
