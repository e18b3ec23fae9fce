"""A summary: what was predicted, how sure, and how the images looked, as counts; no image can be told from it.

The summary of the validation images travels in a bundle and sets the bins. What a device counts, it counts in these.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.dataclass_json import from_json, parse_json, to_json
from edgeclf_runtime.bundle.decision import UNKNOWN, Prediction, decide
from edgeclf_runtime.bundle.manifest import Manifest
from edgeclf_runtime.errors import BundleError, DataError, UsageError
from edgeclf_runtime.json_fields import LATER

VALIDATION = "golden/validation.json"  # in a bundle
SCHEMA = 1
MOST_IMAGES = 10**15  # sums of such counts are still whole numbers of 64 bits
_BINS, _IMAGES_A_BIN = 10, 10
# Bins are at least this wide: another engine's rounding, or another precision's, moves few images across their edges.
_APART = {"confidence": 0.01, "energy": 0.1, "brightness": 1.0, "contrast": 0.5, "colour": 0.5, "detail": 0.1}


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many values lie between the `edges`: below the first, …, from the last on. `total`: their sum."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    total: float = 0.0

    def __post_init__(self) -> None:
        if len(self.counts) != len(self.edges) + 1 or list(self.edges) != sorted(set(self.edges)):
            raise ValueError("edges have to rise, with one count more than there are edges")
        if any(not 0 <= count <= MOST_IMAGES for count in self.counts):
            raise ValueError(f"counts are 0 to {MOST_IMAGES:,}")

    @property
    def mean(self) -> float | None:
        images = sum(self.counts)
        return self.total / images if images else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Counts of predictions.

    Attributes
    ----------
    bundle
        The digest of the bundle that predicted; empty in the bundle itself.
    images, errors, unknown
        Images predicted; images that could not be read; predictions that were "unknown".
    answers
        How often each class had the highest score, be the prediction "unknown" or not.
    labels, without_label
        Where an image may have several labels: how often each was predicted, and how many images had none and were not
        "unknown". None: an image has one, or an earlier version counted.
    histograms
        By name: "confidence" (the highest score), "energy" (nats), and of the pixels that the network sees
        "brightness", "contrast", "colour", "detail".
    threshold
        The score that was given in place of the bundle's thresholds; None: those.
    begun_utc, ended_utc
        The first and the last image.
    """

    schema: int = SCHEMA
    bundle: str = ""
    images: int = 0
    errors: int = 0
    unknown: int = 0
    answers: dict[str, int] = field(default_factory=dict)
    histograms: dict[str, Histogram] = field(default_factory=dict)
    threshold: float | None = None
    begun_utc: str | None = None
    ended_utc: str | None = None
    labels: dict[str, int] | None = field(default=None, metadata=LATER)
    without_label: int = field(default=0, metadata=LATER)

    def __post_init__(self) -> None:
        if max(self.images, self.errors, *self.answers.values()) > MOST_IMAGES:
            raise ValueError(f"counts are at most {MOST_IMAGES:,}")
        if not 0 <= self.unknown <= self.images or self.errors < 0 or min(self.answers.values(), default=0) < 0:
            raise ValueError("counts are 0 or more, and no more predictions are unknown than there are")
        if not all(0 <= each <= self.images for each in (self.without_label, *(self.labels or {}).values())):
            raise ValueError("counts of labels are 0 or more, and no label is predicted of more images than there are")

    def scaled_down(self, most: int) -> Summary:
        """With every count divided by one number, rounded down, so that none and no sum of them is above `most`."""
        sums = [sum(self.answers.values()), *(sum(each.counts) for each in self.histograms.values())]
        by = -(-max(self.images, *sums) // most)
        if by <= 1:
            return self

        def divided(counts: dict[str, int]) -> dict[str, int]:
            return {name: count // by for name, count in counts.items()}

        return replace(
            self,
            images=self.images // by,
            unknown=self.unknown // by,
            without_label=self.without_label // by,
            answers=divided(self.answers),
            labels=None if self.labels is None else divided(self.labels),
            histograms={
                name: replace(each, counts=tuple(count // by for count in each.counts), total=each.total / by)
                for name, each in self.histograms.items()
            },
        )

    def to_bytes(self) -> bytes:
        return (json.dumps(to_json(self), indent=1, ensure_ascii=True, allow_nan=False) + "\n").encode()


def values_of(prediction: Prediction, looks: Mapping[str, float]) -> dict[str, float]:
    """What histograms count of one prediction, and of how its image looks (`image_statistics`), by name."""
    found = dict(looks)
    if prediction.scores:
        found["confidence"] = prediction.scores[0].probability
    if prediction.energy is not None:
        found["energy"] = prediction.energy
    return {name: value for name, value in found.items() if np.isfinite(value)}


def count_labels(counts: dict[str, int] | None, prediction: Prediction) -> bool:
    """Adds the labels of a prediction to the `counts` of several labels; whether it has none, and is not "unknown"."""
    if counts is None:
        return False
    for label in prediction.labels or ():
        counts[label] += 1
    return prediction.labels == () and prediction.label is None


class ValidationCounter:
    """Gathers the predictions for validation images, and sets bins that hold about equally many of them."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._answers: Counter[str] = Counter()
        self._labels = dict.fromkeys(manifest.labels, 0) if manifest.multi_label else None
        self._unknown = self._without_label = 0
        self._values: dict[str, list[float]] = {}

    def add(
        self,
        looks: Iterable[Mapping[str, float]],
        logits: NDArray[np.floating],
        similarities: NDArray[np.floating] | None = None,
    ) -> None:
        """How N images look (`image_statistics`), their (N, classes) logits, and (N,) similarities if there are any."""
        known = [None] * len(logits) if similarities is None else similarities.tolist()
        for each, row, similarity in zip(looks, logits, known, strict=True):
            prediction = decide(self._manifest, "", row, top=1, similarity=similarity)
            if prediction.scores:
                self._answers[prediction.scores[0].label] += 1
                self._unknown += prediction.label == UNKNOWN
                self._without_label += count_labels(self._labels, prediction)
                for name, value in values_of(prediction, each).items():
                    self._values.setdefault(name, []).append(value)

    def summary(self) -> Summary:
        return Summary(
            images=sum(self._answers.values()),
            unknown=self._unknown,
            answers=dict(sorted(self._answers.items())),
            histograms={name: _histogram(name, values) for name, values in self._values.items()},
            labels=self._labels,
            without_label=self._without_label,
        )


def _histogram(name: str, values: Iterable[float]) -> Histogram:
    ordered = np.sort(np.asarray(list(values), dtype=np.float64))
    bins = min(_BINS, max(2, len(ordered) // _IMAGES_A_BIN))
    edges: list[float] = []
    for edge in np.quantile(ordered, np.arange(1, bins) / bins, method="midpoint").tolist():
        if not edges or edge - edges[-1] >= _APART[name]:
            edges.append(edge)
    counts = np.bincount(np.searchsorted(edges, ordered, side="right"), minlength=len(edges) + 1)
    return Histogram(tuple(edges), tuple(counts.tolist()), float(ordered.sum()))


def parse_summary(data: bytes, where: str) -> Summary:
    """Raises DataError for what is no summary, a damaged or a newer one."""
    try:
        content = parse_json(data)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not JSON ({error}); wanted what `edgeclf predict --summary` writes") from error
    if not isinstance(content, Mapping) or type(content.get("schema")) is not int or "answers" not in content:
        raise DataError(f"{where}: no summary; wanted what `edgeclf predict --summary` writes")
    if content["schema"] != SCHEMA:
        raise DataError(
            f"{where}: schema {content['schema']}, this edgeclf reads schema {SCHEMA}; update the older one"
        )
    return from_json(Summary, content, where)


def check_labels(bundle: Bundle, found: Summary) -> None:
    """Raises DataError where it counts other labels than the bundle's, or labels of a bundle of one label an image."""
    own = set(bundle.manifest.labels) if bundle.manifest.multi_label else set()
    if found.labels is not None and (other := sorted(found.labels.keys() ^ own)):
        raise DataError(f"the summary is damaged: its labels are not those of {bundle.path}, such as {other[0]!r}")


def read_summary(path: Path) -> Summary:
    """The summary in a file. Raises UsageError where there is no such file, DataError where it can't be read."""
    try:
        return parse_summary(path.read_bytes(), str(path))
    except FileNotFoundError:
        raise UsageError(f"{path}: no such summary; `edgeclf predict --summary {path.name}` writes one") from None
    except OSError as error:
        if path.is_dir():
            raise UsageError(f"{path} is a folder; name the file that `edgeclf predict --summary` wrote") from None
        raise DataError(f"{path}: {error.strerror}") from error


def validation_of(bundle: Bundle) -> Summary:
    """The summary of validation that the bundle carries. Raises BundleError where it has none: what makes one."""
    if VALIDATION not in bundle.manifest.files:
        raise BundleError(
            f"{bundle.path} keeps no summary of its validation images to compare with; make a bundle that does: "
            f"`edgeclf export RUN`, or `edgeclf eval {bundle.path} DATA --operating-point precision=0.9`"
        )
    return parse_summary(bundle.read(VALIDATION), f"{bundle.path}/{VALIDATION}")
