"""A search, from its beginning or from where it was interrupted."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path

from edgeclf.data.split import require_images, split_faults
from edgeclf.data.split_file import load_split, save_split
from edgeclf.training.run.left_out import leave_out_unusable
from edgeclf.training.run.run import Run
from edgeclf.training.search.latency import time_candidates
from edgeclf.training.search.state import (
    SPLIT,
    Search,
    SearchPlan,
    check_no_search,
    load_plan,
    new_search,
    write,
)
from edgeclf.training.search.steps import Steps, TimeAll
from edgeclf_runtime.errors import DataError
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.progress import SILENT, Progress


def start_search(
    plan: SearchPlan,
    data: DataSplit,
    folder: Path,
    missing: Mapping[str, str],
    progress: Progress = SILENT,
    *,
    minutes: float | None = None,
    timing: TimeAll = time_candidates,
) -> Search:
    """Measures the candidates of a new search; `missing`: those without weights, each with the reason.

    Raises as `resume_search`, UsageError where a search or run is at `folder`, DataError where a split is empty.
    """
    check_no_search(folder)
    Run.check_free(folder)
    if faults := split_faults(data.images):
        raise DataError(f"{data.root}: {faults[0]}")
    data, _ = leave_out_unusable(data, plan.training.value_range, progress=progress)
    require_images(data, "val", data.root, "compare")
    save_split(data, folder / SPLIT, force=True)
    write(folder, new_search(plan, data, missing))
    write(folder, plan)
    return resume_search(folder, progress, minutes=minutes, timing=timing)


def resume_search(
    folder: Path, progress: Progress = SILENT, *, minutes: float | None = None, timing: TimeAll = time_candidates
) -> Search:
    """Measures what is still missing. After `minutes` no further training begins, and the search is not complete.

    Raises
    ------
    GateError
        No candidate can be exported, is as fast as the plan wants, or can be trained.
    DataError, BackendError
        As an export or a training does. What was measured is kept, also after Ctrl-C.
    """
    plan = load_plan(folder)
    deadline = math.inf if minutes is None else time.monotonic() + 60 * minutes
    with Run(folder).alone():
        steps = Steps(plan, load_split(folder / SPLIT, several_labels="known"), folder, progress, deadline)
        steps.measure_latency(timing)
        within = steps.within_budget()
        finalists = steps.probe(within)
        if finalists is not None and steps.tune(finalists):
            steps.compare()
        return steps.search
