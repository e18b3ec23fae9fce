"""Frames in, predictions out: each with its number, its time in the stream and how long it took."""

from __future__ import annotations

import json
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from edgeclf.console import document
from edgeclf.video.video import Frame
from edgeclf.wording import count
from edgeclf_runtime.bundle.decision import Prediction
from edgeclf_runtime.classifier import Classifier

_REMEMBERED = 10_000  # latencies; a stream may have no end


@dataclass(frozen=True, slots=True)
class PredictedFrame:
    """The prediction for a frame, and its (H, W, 3) RGB pixels.

    `latency_ms`: from the end of decoding to the prediction.
    """

    prediction: Prediction
    number: int
    time_s: float | None
    latency_ms: float
    pixels: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class StreamTotals:
    """Frames of a stream, predicted and lost, and how fast. Latencies are of the last 10,000, None without any."""

    answered: int
    errors: int
    dropped: int
    damaged: int
    seconds: float
    frames_per_s: float | None
    latency_median_ms: float | None
    latency_p99_ms: float | None
    fault: str | None = None

    def __str__(self) -> str:
        lost = [f"{number} {what}" for number, what in ((self.dropped, "dropped"), (self.damaged, "damaged")) if number]
        parts = [", ".join([count(self.answered, "frame"), *lost])]
        if self.frames_per_s is not None and self.latency_median_ms is not None and self.latency_p99_ms is not None:
            parts.append(f"{self.frames_per_s:.1f} frames/s")
            parts.append(f"latency {self.latency_median_ms:.1f} ms, 99 % within {self.latency_p99_ms:.1f} ms")
        return " · ".join(parts)


@dataclass(slots=True)
class Pace:
    """Counts predicted frames against the clock, from when the first came to when the last was predicted."""

    answered: int = 0
    errors: int = 0
    _first_came: float = 0.0
    _last_predicted: float = 0.0
    _latencies_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))

    def note(self, predicted: PredictedFrame) -> None:
        self._last_predicted = time.monotonic()
        if not self.answered:
            self._first_came = self._last_predicted - predicted.latency_ms / 1000
        self.answered += 1
        self.errors += predicted.prediction.error is not None
        self._latencies_ms.append(predicted.latency_ms)

    def totals(self, *, dropped: int, damaged: int, fault: str | None = None) -> StreamTotals:
        seconds = self._last_predicted - self._first_came
        ordered = sorted(self._latencies_ms)
        return StreamTotals(
            self.answered,
            self.errors,
            dropped,
            damaged,
            round(seconds, 3),
            round(self.answered / seconds, 2) if seconds > 0 and ordered else None,
            round(statistics.median(ordered), 3) if ordered else None,
            round(ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))], 3) if ordered else None,
            fault,
        )


def predict_frames(
    classifier: Classifier,
    frames: Iterable[Frame],
    name: str,
    *,
    ahead: bool,
    batch_size: int,
    top: int,
    threshold: float | None,
    observe: Callable[..., object] | None = None,
) -> Iterator[PredictedFrame]:
    """The prediction for each frame, in order.

    With `ahead` the classifier takes frames before it has predicted the last ones, which is faster; without, each
    prediction is there before the next frame is waited for.
    """
    waiting: deque[Frame] = deque()

    def pixels() -> Iterator[NDArray[np.uint8]]:
        for frame in frames:
            waiting.append(frame)
            yield frame.pixels

    if ahead:
        predictions = classifier.predict(
            pixels(),
            batch_size=batch_size,
            top=top,
            threshold=threshold,
            observe=observe,
        )
    else:
        predictions = (
            prediction
            for array in pixels()
            for prediction in classifier.predict(array, top=top, threshold=threshold, observe=observe)
        )
    for prediction in predictions:
        frame = waiting.popleft()
        latency_ms = 1000 * (time.monotonic() - frame.arrived)
        named = replace(prediction, source=f"{name}#{frame.number}")
        yield PredictedFrame(named, frame.number, frame.time_s, round(latency_ms, 3), frame.pixels)


def print_frame(predicted: PredictedFrame) -> None:
    """One JSON document on a line of its own."""
    about = {"number": predicted.number, "time_s": predicted.time_s, "latency_ms": predicted.latency_ms}
    _print({"prediction": predicted.prediction, "frame": about})


def print_totals(totals: StreamTotals) -> None:
    """The last line of a stream's JSON."""
    _print({"stream": totals})


def _print(fields: dict[str, object]) -> None:
    print(json.dumps(document("predict", fields), allow_nan=False), flush=True)
