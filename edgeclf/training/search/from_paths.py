"""`search`: from a path and names of backbones to candidates measured on the user's own images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgeclf.data.split import open_data
from edgeclf.training.config import TrainConfig
from edgeclf.training.from_paths import default_folder
from edgeclf.training.search.candidates import PACKAGED, candidates_of, without_weights
from edgeclf.training.search.latency import require_engine
from edgeclf.training.search.plot import draw_search
from edgeclf.training.search.search import resume_search as resume
from edgeclf.training.search.search import start_search
from edgeclf.training.search.state import PLOT, Search, SearchPlan, check_no_search, load_plan
from edgeclf_runtime.bundle.atomic_write import writing
from edgeclf_runtime.capacity import usable_cores
from edgeclf_runtime.errors import DataError
from edgeclf_runtime.progress import SILENT, Progress


def search(
    data: str | Path,
    models: Sequence[str] = (),
    *,
    weights: str = "hub",
    target: str = "onnx",
    max_ms: float | None = None,
    threads: int | None = None,
    training: TrainConfig = TrainConfig(model=""),
    probe_epochs: int = 10,
    tune_epochs: int = 3,
    finalists: int = 3,
    folder: str | Path | None = None,
    minutes: float | None = None,
    progress: Progress = SILENT,
) -> Search:
    """Backbones compared by accuracy and latency on the user's own images, as `edgeclf search` does it.

    Parameters
    ----------
    data
        A folder of classes, a CSV, or the manifest that `edgeclf data split` wrote. Test images are not used.
    models
        NAME or NAME=WEIGHTS; none: families that suit an edge device.
    weights
        Of models that name none: "hub", "random", "packages" (of installed packages), a file.
    target, threads
        The engine that latency is measured on, and its threads; None: all cores.
    max_ms
        Slower candidates are left out before anything is trained.
    training
        Image size, seed, device and recipe of all trainings; its model, weights, strategy and epochs are not used.
    probe_epochs, tune_epochs, finalists
        Epochs of the probes' heads, epochs of fine-tuning, and how many candidates are fine-tuned.
    folder
        Where runs, search.json and search.png go; None: runs/DATA-search.
    minutes
        After so long no further training begins; `resume_search` goes on.

    Raises
    ------
    UsageError, DataError, BackendError
        Unknown models, images or weights that are not available, an engine that can't run here.
    GateError
        No candidate is as fast as `max_ms`.
    """
    require_engine(target)
    candidates = candidates_of(models, weights)
    place = Path(folder) if folder is not None else default_folder(Path(data).resolve().stem, "search")
    check_no_search(place)
    images = open_data(  # before weights are fetched
        Path(data), seed=training.seed, several_labels="known", warn=progress.warn
    )
    progress.step("looking for weights")
    missing = without_weights(candidates, training.img_size, training.seed)
    if missing and (models or len(missing) == len(candidates)):
        packages = "" if models else f"; --weights {PACKAGED} compares the backbones that installed packages carry"
        raise DataError(next(iter(missing.values())) + packages)
    for name, reason in missing.items():
        progress.warn(f"{name} is left out: {reason}")
    plan = SearchPlan(
        candidates=candidates,
        training=training,
        target=target,
        threads=threads or usable_cores(),
        max_ms=max_ms,
        probe_epochs=probe_epochs,
        tune_epochs=tune_epochs,
        finalists=finalists,
    )
    return _drawn(start_search(plan, images, place, missing, progress, minutes=minutes), place)


def resume_search(folder: str | Path, *, minutes: float | None = None, progress: Progress = SILENT) -> Search:
    """Measures what is still missing of an interrupted search. Raises DataError where there is none."""
    require_engine(load_plan(Path(folder)).target)
    return _drawn(resume(Path(folder), progress, minutes=minutes), Path(folder))


def _drawn(found: Search, folder: Path) -> Search:
    with writing(folder / PLOT, force=True) as draft:
        draw_search(found, draft)
    return found
