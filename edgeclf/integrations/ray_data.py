"""A bundle over a data set with Ray Data: a class for `map_batches`, whose predictions are those of `edgeclf predict`.

    import ray
    from edgeclf.integrations.ray_data import ClassifyWithBundle

    ray.init()
    images = ray.data.read_binary_files("photos/", include_paths=True)
    workers = ray.data.ActorPoolStrategy(size=2)
    predictions = images.map_batches(
        ClassifyWithBundle, fn_constructor_args=("cats.tar",), compute=workers, num_cpus=1, batch_size=32
    )
    predictions.write_parquet("predictions/")

Every worker opens the bundle once, so its path must lead to it on each machine. The cluster needs a CPU beyond those of
the workers, for the tasks that read, or Ray Data waits for ever. Importing this module turns off Ray's
usage statistics, which it sends by default; import it before `ray.init`.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgeclf_runtime.backends.engine import OWN_DEVICE, SessionOptions
from edgeclf_runtime.bundle.decision import Prediction
from edgeclf_runtime.classifier import Classifier
from edgeclf_runtime.deploy.machine_proofs import require_no_failed_proof
from edgeclf_runtime.errors import UsageError
from edgeclf_runtime.images.limits import Limits
from edgeclf_runtime.images.sources import ImageSource

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

Columns = dict[str, Any]
_COLUMNS = ("bytes", "image", "path")  # of read_binary_files, of read_images, of a table of paths


class ClassifyWithBundle:
    """Batches of a Ray data set -> the same rows with predictions in place of the images.

    Adds `label` ("unknown" below the threshold, "" where there is an error), `unknown_by` ("score", "energy" or
    "features", "" where the label is a class), `labels` and `scores` (the `top` best), and `error` ("" where there is
    none). A bad image costs its own row. Where an image may have several labels, there is `predicted`, too: a list of
    all of them, empty where it has none; `label` is then the same as one text, "cat|dog", or "unknown".

    Parameters
    ----------
    bundle
        A folder, or the .tar that pack made, as every worker finds it.
    column
        Where the images are: "bytes", "image" (arrays or PIL images) or "path"; None: the first of them that is there.
        Prefer bytes: `read_images` decodes by itself and ignores the EXIF orientation.
    top
        How many classes a row lists; all, where the bundle has fewer.
    batch_size
        Images handed to the engine at a time.
    threads
        Of one inference; give `map_batches` the same `num_cpus`.
    unproven
        Go on where the newest proof of this bundle on the worker's machine failed; else that is a GateError.
    """

    def __init__(
        self,
        bundle: str,
        *,
        column: str | None = None,
        top: int = 5,
        batch_size: int = 1,
        threads: int = 1,
        threshold: float | None = None,
        device: str = OWN_DEVICE,
        limits: Limits = Limits(),
        unproven: bool = False,
    ) -> None:
        if column is not None and column not in _COLUMNS:
            raise UsageError(f"no column {column!r}; choose one of {', '.join(_COLUMNS)}")
        self._column = column
        self._how: dict[str, Any] = {"top": top, "batch_size": batch_size, "threshold": threshold}
        self._classifier = Classifier.open(bundle, SessionOptions(device=device, threads=threads), limits=limits)
        require_no_failed_proof(self._classifier, warnings.warn, unproven=unproven)
        self._classifier.predict([], **self._how)  # raises for options that can't be used, before the first batch

    def __call__(self, batch: Columns) -> Columns:
        column = self._column or next((name for name in _COLUMNS if name in batch), None)
        if column is None or column not in batch:
            raise UsageError(f"wanted a column {column or ' or '.join(_COLUMNS)}, found {', '.join(batch)}")
        predictions = self._predictions(batch[column])
        kept = {name: values for name, values in batch.items() if name != column or column == "path"}
        return kept | _columns(predictions) | self._all_labels(predictions)

    def _all_labels(self, predictions: list[Prediction]) -> Columns:
        """Of a bundle that predicts several labels an image; `labels` are the best classes, whatever the bundle."""
        if not self._classifier.bundle.manifest.multi_label:
            return {}
        return {"predicted": _lists([list(prediction.labels or ()) for prediction in predictions])}

    def _predictions(self, cells: Iterable[Any]) -> list[Prediction]:
        """One for each cell, whatever it holds: rows must not shift."""
        faults = [(cell, _fault(cell)) for cell in cells]
        sources: list[ImageSource] = [cell for cell, fault in faults if fault is None]
        found = self._classifier.predict(sources, **self._how)
        return [next(found) if fault is None else Prediction("", None, (), fault) for _, fault in faults]


def _fault(cell: Any) -> str | None:
    """Why `cell` is not one image, if that shows from outside."""
    if isinstance(cell, (bytes, bytearray, memoryview, np.ndarray, Image.Image)):
        return None
    if not isinstance(cell, str):
        return f"wanted bytes, an array, a PIL image or a path, found {type(cell).__name__}"
    return "a folder, not an image" if os.path.isdir(cell) else None


def _columns(predictions: list[Prediction]) -> Columns:
    return {
        "label": _texts([prediction.label_text for prediction in predictions]),
        "unknown_by": _texts([prediction.unknown_by or "" for prediction in predictions]),
        "error": _texts([prediction.error or "" for prediction in predictions]),
        "labels": _lists([[score.label for score in prediction.scores] for prediction in predictions]),
        "scores": _lists([[score.probability for score in prediction.scores] for prediction in predictions]),
    }


def _texts(values: list[str]) -> NDArray[np.object_]:
    return np.array(values, dtype=object)  # not numpy's own texts, which all take the space of the longest


def _lists(values: list[list[Any]]) -> NDArray[np.object_]:
    """A column of lists: an empty one, where an image is bad, keeps the others from being a rectangle."""
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column
