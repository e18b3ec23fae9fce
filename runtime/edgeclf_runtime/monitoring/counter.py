"""Counts predictions on a device in the bins of the bundle's validation, and writes them now and then."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.bundle.atomic_write import writing
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.decision import UNKNOWN, Prediction
from edgeclf_runtime.errors import DataError
from edgeclf_runtime.machine.facts import now_utc
from edgeclf_runtime.monitoring.image_statistics import image_statistics
from edgeclf_runtime.monitoring.summary import Histogram, Summary, check_labels, count_labels, validation_of, values_of

_WRITTEN_EVERY_S = 60.0


class PredictionCounter:
    """A summary that grows. Several threads may count.

    Raises BundleError for a bundle without a summary of validation; DataError where `so_far` is of another bundle.
    """

    def __init__(self, bundle: Bundle, threshold: float | None = None, so_far: Summary | None = None) -> None:
        reference = validation_of(bundle)
        self._summary = Summary(bundle=bundle.digest, threshold=threshold)
        self._edges = {name: each.edges for name, each in reference.histograms.items()}
        self._answers: dict[str, int] = {}
        several = bundle.manifest.multi_label
        self._labels = dict.fromkeys(bundle.manifest.labels, 0) if several else None
        self._counts = {name: np.zeros(len(edges) + 1, dtype=np.int64) for name, edges in self._edges.items()}
        self._totals = dict.fromkeys(self._edges, 0.0)
        self._lock = threading.Lock()
        if so_far is not None:
            self._go_on(so_far, bundle)

    def _go_on(self, so_far: Summary, bundle: Bundle) -> None:
        own = self._summary
        if so_far.bundle != own.bundle or so_far.threshold != own.threshold:
            raise DataError("it counts the predictions of another bundle, or with another threshold")
        if {name: each.edges for name, each in so_far.histograms.items()} != self._edges:
            raise DataError("it has other bins than the bundle; it is damaged")
        check_labels(bundle, so_far)
        self._summary, self._answers = so_far, dict(so_far.answers)
        if self._labels is not None:  # what was not counted from the first image on is not counted later
            self._labels = None if so_far.labels is None else dict(so_far.labels)
        self._counts = {name: np.array(each.counts, dtype=np.int64) for name, each in so_far.histograms.items()}
        self._totals = {name: each.total for name, each in so_far.histograms.items()}

    def count(self, pixels: NDArray[np.uint8] | None, prediction: Prediction) -> None:
        """One prediction, and the (H, W, 3) pixels it was made of; None: they could not be read, or came normalised."""
        self.count_looks({} if pixels is None else image_statistics(pixels), prediction)

    def count_looks(self, looks: Mapping[str, float], prediction: Prediction) -> None:
        """As `count`, for an image whose `image_statistics` were taken before."""
        values = values_of(prediction, looks)
        with self._lock:
            now, old = now_utc(), self._summary
            self._summary = replace(old, begun_utc=old.begun_utc or now, ended_utc=now)
            if not prediction.scores:
                self._summary = replace(self._summary, errors=old.errors + 1)
                return
            unknown = old.unknown + (prediction.label == UNKNOWN)
            without = old.without_label + count_labels(self._labels, prediction)
            self._summary = replace(self._summary, images=old.images + 1, unknown=unknown, without_label=without)
            best = prediction.scores[0].label
            self._answers[best] = self._answers.get(best, 0) + 1
            for name in values.keys() & self._edges.keys():
                self._counts[name][np.searchsorted(self._edges[name], values[name], side="right")] += 1
                self._totals[name] += values[name]

    def summary(self) -> Summary:
        with self._lock:
            histograms = {
                name: Histogram(edges, tuple(self._counts[name].tolist()), self._totals[name])
                for name, edges in self._edges.items()
            }
            labels = None if self._labels is None else dict(self._labels)
            answers = dict(sorted(self._answers.items()))
            return replace(self._summary, answers=answers, histograms=histograms, labels=labels)


class SummaryFile:
    """Writes a counter's summary to a file: at once, every minute, and at the end. A full disk is reported once.

    Raises DataError where it can't be written at once.
    """

    def __init__(self, counter: PredictionCounter, path: Path, report: Callable[[str], object]) -> None:
        self._counter, self.path, self._report = counter, path, report
        self._due = time.monotonic() + _WRITTEN_EVERY_S
        self._failed = False
        self._write()

    def count(self, pixels: NDArray[np.uint8] | None, prediction: Prediction) -> None:
        self._counter.count(pixels, prediction)
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + _WRITTEN_EVERY_S
            self.write()

    def write(self) -> bool:
        """Whether it could be written."""
        try:
            self._write()
        except DataError as error:
            if not self._failed:
                self._report(f"{error}; predictions go on, and it is tried again")
            self._failed = True
            return False
        self._failed = False
        return True

    def _write(self) -> None:
        with writing(self.path, force=True) as draft:
            draft.write_bytes(self._counter.summary().to_bytes())
