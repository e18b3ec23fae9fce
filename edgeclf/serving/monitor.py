"""What a service keeps of its predictions: counts for drift, and images worth a label. No request waits for either."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from edgeclf.console import say
from edgeclf_runtime.bundle.decision import Prediction
from edgeclf_runtime.classifier import Classifier
from edgeclf_runtime.errors import EdgeclfError
from edgeclf_runtime.monitoring.collector import Collector
from edgeclf_runtime.monitoring.counter import PredictionCounter
from edgeclf_runtime.monitoring.image_statistics import image_statistics
from edgeclf_runtime.monitoring.summary import VALIDATION, Summary

_MOST_WAITING = 8  # images that may wait to be collected; more are let go, so that memory stays flat


class ServiceMonitor:
    """Counts where the bundle keeps a summary of validation; collects where there is a collector."""

    def __init__(self, classifier: Classifier, threshold: float | None, collector: Collector | None) -> None:
        self._classifier, self._threshold, self._collector = classifier, threshold, collector
        kept = VALIDATION in classifier.bundle.manifest.files
        self._counter = PredictionCounter(classifier.bundle, threshold) if kept else None
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="edgeclf-collect")
        self._room = threading.BoundedSemaphore(_MOST_WAITING)

    @property
    def collects(self) -> bool:
        """Whether images that are sent may be kept: whoever sends one should know."""
        return self._collector is not None

    def summary(self) -> Summary | None:
        """What was counted until now; None where nothing is."""
        return None if self._counter is None else self._counter.summary()

    def looks_of(self, pixels: NDArray[np.uint8]) -> dict[str, float]:
        """How an image looks, for `count`. It takes a millisecond, so it is no work for an event loop."""
        return {} if self._counter is None else image_statistics(pixels)

    def count(self, looks: Mapping[str, float], prediction: Prediction, body: bytes) -> None:
        """One prediction; its image file is collected later, by a thread of its own."""
        if self._counter is not None:
            self._counter.count_looks(looks, prediction)
        if self._collector is not None and self._room.acquire(blocking=False):
            self._worker.submit(self._offer, self._collector, prediction, body)

    def count_tensors(self, batch: NDArray[np.generic], outputs: NDArray[np.float32]) -> None:
        """Images that came as tensors; how they look is known where the graph takes pixels."""
        if self._counter is None:
            return
        are_pixels = batch.dtype == np.uint8 and batch.ndim == 4 and batch.shape[-1] == 3
        for number, row in enumerate(outputs):
            looks = image_statistics(batch[number].astype(np.uint8, copy=False)) if are_pixels else {}
            self._counter.count_looks(looks, self._classifier.decide("", row, (), 1, self._threshold))

    def _offer(self, collector: Collector, prediction: Prediction, body: bytes) -> None:
        try:
            collector.offer(prediction, body)
        except EdgeclfError as error:  # the second bundle's engine, say: the response was sent
            say(f"edgeclf: --collect: {error}", style="red")
        finally:
            self._room.release()

    def close(self) -> None:
        self._worker.shutdown()
