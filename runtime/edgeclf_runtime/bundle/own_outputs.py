"""A bundle's own outputs for its golden items: kept when it is made, compared on every machine that verifies it.

The reference's outputs alone prove little of INT8, whose honest deviation hides a swap of red and blue. What the same
model gave where it was made is the tighter measure: the same engine, version and processor give it again bit for bit.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.dataclass_json import from_json, to_json
from edgeclf_runtime.bundle.decision import UNKNOWN, Prediction, decide
from edgeclf_runtime.bundle.features import golden_similarities
from edgeclf_runtime.bundle.golden import OwnOutputs
from edgeclf_runtime.bundle.manifest import Manifest, ScoreKind, Thresholds
from edgeclf_runtime.bundle.own_check import check_own, own_tolerances
from edgeclf_runtime.bundle.proof import OwnCheck
from edgeclf_runtime.errors import BundleError, DataError
from edgeclf_runtime.json_fields import LATER

OUTPUTS, PREDICTIONS = "golden/own_outputs.npy", "golden/own_predictions.json"
_LISTED = 5
_SCORE_ROUNDING = 1e-5  # of a sum of thousands of exponentials on another numpy
# What decides how an engine rounds: of other kernels, of other blocks for other caches.
_ROUNDING = ("engine", "engine_version", "device", "architecture", "cpu", "cpu_features", "gpu")


@dataclass(frozen=True, slots=True)
class Shown:
    """One prediction as a user sees it: the label, "unknown" below a threshold, and the best classes with scores.

    `labels`: all that an image has, best first, where it may have several; None: it has one.
    """

    label: str
    scores: tuple[tuple[str, float], ...]
    labels: tuple[str, ...] | None = field(default=None, metadata=LATER)

    @property
    def in_words(self) -> str:
        if self.labels is None or self.label:  # of several labels only "unknown" stands there
            return repr(self.label)
        return " + ".join(map(repr, self.labels)) or "no label"


@dataclass(frozen=True, slots=True)
class GoldenPredictions:
    """Predictions for the golden images, and all that turns logits into them, as they were when the bundle was made."""

    labels: tuple[str, ...]
    scores: ScoreKind
    temperature: float
    thresholds: Thresholds
    predictions: tuple[Shown, ...]
    multi_label: bool = field(default=False, metadata=LATER)


def record_own_outputs(
    folder: Path, manifest: Manifest, outputs: NDArray[np.float32], machine: Mapping[str, str], compute_precision: str
) -> OwnOutputs:
    """Writes the outputs, and for a classifier its predictions, below `folder`; returns the manifest's entry.

    `outputs` (N, width) are those of the golden items in order; `machine` the facts of a proof.
    """
    (folder / OUTPUTS).parent.mkdir(parents=True, exist_ok=True)
    np.save(folder / OUTPUTS, outputs, allow_pickle=False)
    if manifest.task == "classify":
        _write_predictions(folder, manifest, outputs)
    facts = {key: machine[key] for key in _ROUNDING if key in machine}
    return OwnOutputs(OUTPUTS, PREDICTIONS if manifest.task == "classify" else None, facts, compute_precision)


def record_predictions_again(folder: Path, manifest: Manifest) -> None:
    """The predictions anew, for a bundle whose thresholds or temperature were chosen anew; outputs stay."""
    if manifest.own is not None and manifest.own.predictions is not None:
        _write_predictions(folder, manifest, np.load(folder / manifest.own.outputs, allow_pickle=False))


def compare_with_own(
    bundle: Bundle,
    reference: NDArray[np.float32],
    found: NDArray[np.float32],
    machine: Mapping[str, str],
    compute_precision: str,
) -> OwnCheck | None:
    """Does this machine compute what the one computed that made the bundle? None: the bundle kept nothing of it."""
    manifest, own = bundle.manifest, bundle.manifest.own
    if own is None:
        return None
    outputs = _own_outputs(bundle, own, reference.shape)
    differs = tuple(machine_differences(own, machine, compute_precision))
    tolerances = own_tolerances(manifest.weights_precision, {own.compute_precision, compute_precision}, bool(differs))
    return check_own(
        reference,
        outputs,
        found,
        tolerances,
        differs,
        classifies=manifest.task == "classify",
        label_logits=manifest.label_logits,
    )


def prediction_faults(bundle: Bundle) -> tuple[str, ...]:
    """Where the manifest makes other predictions of the bundle's own outputs than it did when it was made.

    The engine plays no part in it: labels, kind of scores, temperature and thresholds do.
    """
    manifest, own = bundle.manifest, bundle.manifest.own
    if own is None or manifest.task != "classify":
        return ()
    if own.predictions is None:
        return ("the bundle keeps own outputs without the predictions that follow from them; export it again",)
    kept = _read_predictions(bundle, own.predictions)
    outputs = bundle.read_array(own.outputs)
    if len(outputs) != len(kept.predictions):
        raise BundleError(
            f"{bundle.path}: {len(kept.predictions)} predictions for {len(outputs)} outputs; export again"
        )
    faults = list(_rule_faults(manifest, kept))
    found = _predictions(manifest, outputs, bundle.read_array)
    changed = [i for i, (now, then) in enumerate(zip(found, kept.predictions, strict=True)) if not _alike(now, then)]
    if changed:
        now, then = found[changed[0]], kept.predictions[changed[0]]
        faults.append(
            f"{len(changed)} of {len(found)} golden images get another prediction from the same logits, "
            f"such as {_difference(now, then)}"
        )
    return tuple(faults)


def machine_differences(own: OwnOutputs, machine: Mapping[str, str], compute_precision: str) -> Iterator[str]:
    """In words, what could make `machine` round otherwise than the one that made the bundle."""
    for key in _ROUNDING:
        then, now = own.machine.get(key, ""), machine.get(key, "")
        if then == now:
            continue
        if key == "cpu_features":
            yield _other_features(set(then.split()), set(now.split()))
        else:
            yield f"{key.replace('_', ' ')} {now or 'none'}, made with {then or 'none'}"
    if own.compute_precision != compute_precision:
        yield f"computes in {compute_precision}, made with {own.compute_precision}"


def _own_outputs(bundle: Bundle, own: OwnOutputs, shape: tuple[int, ...]) -> NDArray[np.float32]:
    outputs = bundle.read_array(own.outputs)
    if outputs.shape != shape:
        raise BundleError(f"{bundle.path}: own outputs {outputs.shape} beside the reference's {shape}; export it again")
    return outputs


def _other_features(then: set[str], now: set[str]) -> str:
    lacks, has = sorted(then - now), sorted(now - then)
    parts = [f"lacks {' '.join(lacks)}"] if lacks else []
    parts += [f"has {' '.join(has)} beyond it"] if has else []
    return f"this processor {' and '.join(parts)}"


def _write_predictions(folder: Path, manifest: Manifest, outputs: NDArray[np.float32]) -> None:
    kept = GoldenPredictions(
        manifest.labels,
        manifest.scores,
        manifest.temperature,
        manifest.thresholds,
        _predictions(manifest, outputs, lambda path: np.load(folder / path, allow_pickle=False)),
        manifest.multi_label,
    )
    (folder / PREDICTIONS).write_text(json.dumps(to_json(kept), ensure_ascii=True, separators=(",", ":")) + "\n")


def _predictions(
    manifest: Manifest, outputs: NDArray[np.float32], read: Callable[[str], NDArray[np.float32]]
) -> tuple[Shown, ...]:
    """From logits, and from the bundle's .npy files where a rule regards features."""
    similar = golden_similarities(manifest, read)
    return tuple(
        _shown(decide(manifest, "", row, top=_LISTED, similarity=None if similar is None else similar[place]))
        for place, row in enumerate(outputs)
    )


def _shown(prediction: Prediction) -> Shown:
    scores = tuple((each.label, each.probability) for each in prediction.scores)
    return Shown(prediction.label or "", scores, prediction.labels)


def _read_predictions(bundle: Bundle, path: str) -> GoldenPredictions:
    where = f"{bundle.path}/{path}"
    try:
        return from_json(GoldenPredictions, json.load(io.BytesIO(bundle.read(path))), where)
    except DataError as error:
        raise BundleError(str(error)) from error
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{where}: not JSON ({error}); export the bundle again") from error


def _rule_faults(manifest: Manifest, kept: GoldenPredictions) -> Iterator[str]:
    """What the manifest has otherwise than when the bundle was made."""
    if manifest.labels != kept.labels:
        yield _other_labels(manifest.labels, kept.labels)
    if manifest.scores != kept.scores:
        yield f"scores are {manifest.scores}, were {kept.scores}"
    if manifest.multi_label != kept.multi_label:
        kinds = ("one label", "several labels")
        yield f"an image has {kinds[manifest.multi_label]}, had {kinds[kept.multi_label]}"
    if manifest.temperature != kept.temperature:
        yield f"temperature is {manifest.temperature:g}, was {kept.temperature:g}"
    now, then = manifest.thresholds, kept.thresholds
    if now.unknown_below != then.unknown_below:
        yield f"the threshold of {UNKNOWN!r} is {now.unknown_below}, was {then.unknown_below}"
    if now.per_class != then.per_class:
        yield _other_thresholds(manifest.labels, now.per_class, then.per_class)
    if now.energy != then.energy:
        yield f"the threshold of the energy is {now.energy or 'none'}, was {then.energy or 'none'}"
    if now.features != then.features:
        yield f"the threshold of the features is {now.features or 'none'}, was {then.features or 'none'}"


def _other_thresholds(labels: tuple[str, ...], now: tuple[float, ...] | None, then: tuple[float, ...] | None) -> str:
    if now is None or then is None or len(now) != len(then):
        return "the thresholds of single classes are others than they were"
    changed = [(label, a, b) for label, a, b in zip(labels, now, then, strict=True) if a != b]
    label, a, b = changed[0]
    return f"{len(changed)} of {len(now)} thresholds are others, such as that of {label!r}: {a:.4g}, was {b:.4g}"


def _other_labels(now: tuple[str, ...], then: tuple[str, ...]) -> str:
    if len(now) != len(then):
        return f"{len(now)} labels, were {len(then)}"
    places = [i for i, (a, b) in enumerate(zip(now, then, strict=True)) if a != b]
    first = places[0]
    return f"{len(places)} of {len(now)} labels are others, such as number {first}: {now[first]!r}, was {then[first]!r}"


def _alike(now: Shown, then: Shown) -> bool:
    return (
        (now.label, now.labels) == (then.label, then.labels)
        and len(now.scores) == len(then.scores)
        and all(a == b and _near(x, y) for (a, x), (b, y) in zip(now.scores, then.scores, strict=True))
    )


def _near(score: float, other: float) -> bool:
    return abs(score - other) <= _SCORE_ROUNDING * max(1.0, abs(other))


def _difference(now: Shown, then: Shown) -> str:
    """The label, or else the first of the best classes or scores, that is another."""
    if (now.label, now.labels) != (then.label, then.labels):
        return f"{now.in_words}, was {then.in_words}"
    for place, (is_now, was) in enumerate(zip(now.scores, then.scores, strict=False), 1):
        if is_now[0] != was[0] or not _near(is_now[1], was[1]):
            return f"number {place}: {is_now[0]!r} {is_now[1]:.4g}, was {was[0]!r} {was[1]:.4g}"
    return f"{len(now.scores)} classes, were {len(then.scores)}"
