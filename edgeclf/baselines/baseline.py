"""The classical baseline: HOG and a support vector machine, cross-validated and made a proven bundle."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeclf.baselines.kernel_svm import PENALTY, cross_validate
from edgeclf.baselines.label_svm import cross_validate_labels
from edgeclf.baselines.model import ADVICE, Model, one_label, read_features, several_labels, training_labels
from edgeclf.data.usable import Unreadable, find_unusable, leave_out, refuse_unusable
from edgeclf.evaluation.inference import count_test_images, predict_with_bundle
from edgeclf.evaluation.test_set_usage import TestUse, record_test_result
from edgeclf_export.proof.bundling import keep_aside, prove_and_seal, write_golden
from edgeclf_export.proof.images import ProofImages
from edgeclf_runtime.backends.engine import missing_engine
from edgeclf_runtime.backends.hog import SIDE_PX, grey_levels, hog
from edgeclf_runtime.backends.hog_svm import BACKEND, MODEL
from edgeclf_runtime.bundle.atomic_write import writing
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.golden import Golden
from edgeclf_runtime.bundle.manifest import Manifest, Provenance, Reference, TensorSpec
from edgeclf_runtime.bundle.proof import TOLERANCES, Proof
from edgeclf_runtime.errors import DataError, GateError, UsageError
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.images.labelled import Split, class_numbers, label_targets
from edgeclf_runtime.images.pixels import Pixels
from edgeclf_runtime.images.predict import prepare_images, strictly
from edgeclf_runtime.machine.facts import now_utc, package_version
from edgeclf_runtime.metrics.intervals import Interval, Resampling, accuracy_interval, number_groups
from edgeclf_runtime.metrics.main_figure import MainFigure
from edgeclf_runtime.metrics.multilabel import evaluate_labels
from edgeclf_runtime.progress import SILENT, Progress

# Antialiased where an image shrinks; cv2.resize with its defaults, which tutorials use, skips source pixels instead.
PIXELS = Pixels("exact", (SIDE_PX, SIDE_PX), (SIDE_PX, SIDE_PX), "bilinear")
TARGET, PRECISION = BACKEND.name, "fp32"
_PROOF_IMAGES = 256
_HOG_AGREES = 1e-6
_VERSIONED = ("edgeclf", "numpy", "pillow", "scikit-image", "scikit-learn")


@dataclass(frozen=True, slots=True)
class BaselineOptions:
    """What to make: a bundle `output`/NAME-hog-svm-fp32, after cross-validation in `folds` parts (0: none).

    `value_range`: stored values of images of more than 8 bits that are black and white. `strict`: images that can't be
    used raise DataError; else they are left out.
    """

    output: Path = Path("bundles")
    name: str | None = None
    folds: int = 5
    seed: int = 0
    force: bool = False
    value_range: tuple[float, float] | None = None
    strict: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "output", Path(self.output))
        if self.folds < 0 or self.folds == 1:
            raise UsageError(f"cross-validation takes 2 folds or more, or 0 for none; found {self.folds}")
        if self.name is not None and ("/" in self.name or self.name.startswith(".") or not self.name):
            raise UsageError(f"{self.name!r} is not a folder name; give --name letters, digits, '-' and '_'")


@dataclass(frozen=True, slots=True)
class Baseline:
    """A published baseline. Accuracies are shares 0..1.

    Attributes
    ----------
    figure
        "top-1", or "mAP" where images have several labels: what all of its accuracies are.
    fold_accuracies
        Of the cross-validation on training images; empty where a class was too small for it.
    test_accuracy, test_interval, test_use
        Of the finished bundle on the test images; None where there are none.
    training_seconds
        Decoding, HOG and the final fit; cross-validation is not in it.
    left_out
        Images that can't be used, of all splits.
    images
        Images of the data, all splits together, usable or not.
    """

    path: Path
    classes: tuple[str, ...]
    training_images: int
    support_vectors: int
    fold_accuracies: tuple[float, ...]
    test_images: int
    figure: str
    test_accuracy: float | None
    test_interval: Interval | None
    test_use: TestUse | None
    training_seconds: float
    cross_validation_seconds: float
    proof: Proof
    bundle_bytes: int
    left_out: tuple[Unreadable, ...] = ()
    images: int = 0


def make_baseline(
    data: DataSplit, options: BaselineOptions = BaselineOptions(), *, progress: Progress = SILENT
) -> Baseline:
    """Trains on the training split, publishes the bundle, and evaluates it on the test split, if there is one.

    Raises
    ------
    UsageError
        The bundle exists already, before anything is read.
    DataError
        An image can't be read, a class has no training image, or the use of test images can't be recorded.
    GateError
        The bundle's predictions are not scikit-learn's. It is kept aside as NAME.failed.
    """
    destination = options.output / f"{options.name or data.name}-{TARGET}-{PRECISION}"
    if destination.exists() and not options.force:
        raise UsageError(f"{destination} exists; give --force to replace it, or another --output or --name")
    pixels = replace(PIXELS, value_range=options.value_range)
    unusable = find_unusable(data.images, options.value_range, progress=progress)
    if options.strict:
        refuse_unusable(data, unusable)
    usable = leave_out(data, unusable)
    train = usable.of("train")
    labels = training_labels(usable, train)
    start = time.perf_counter()
    features = read_features(train, pixels, progress)
    reading_s = time.perf_counter() - start
    groups = [image.group for image in train]
    validate = cross_validate_labels if data.multi_label else cross_validate
    accuracies = (
        validate(features, labels, options.folds, groups=groups, seed=options.seed, progress=progress)
        if options.folds
        else ()
    )
    validating_s = time.perf_counter() - start - reading_s
    model = several_labels(usable, features, pixels, progress) if data.multi_label else one_label(features, labels)
    training_s = time.perf_counter() - start - validating_s
    images = _proof_images(usable, pixels)
    features_of_proof = _proven_hog(images.pixels)
    with writing(destination, force=options.force) as draft:
        proof = _make(draft, model, usable, data.digest, images, model.outputs(features_of_proof), training_s)
        if proof.verdict == "fail":
            raise GateError(keep_aside(draft, destination, proof))
        bundle_bytes = sum(file.stat().st_size for file in draft.rglob("*") if file.is_file())
    found = _test(Bundle.open(destination), usable, data.digest, progress)
    return Baseline(
        path=destination,
        classes=data.classes,
        training_images=len(train),
        support_vectors=len(model.svm.support_vectors),
        fold_accuracies=accuracies,
        test_images=found.images,
        figure=found.figure,
        test_accuracy=found.accuracy,
        test_interval=found.interval,
        test_use=found.use,
        training_seconds=training_s,
        cross_validation_seconds=validating_s,
        proof=proof,
        bundle_bytes=bundle_bytes,
        left_out=unusable,
        images=len(data.images),
    )


def _proof_images(data: DataSplit, pixels: Pixels) -> ProofImages:
    """At most 256 validation images, or training images where there are none: test images are for the final figure."""
    split: Split = "val" if data.of("val") else "train"
    images = data.of(split)
    count = min(_PROOF_IMAGES, len(images))
    chosen = [images[i * len(images) // count] for i in range(count)]
    loaded = strictly(prepare_images(chosen, lambda image: image.load(pixels)), ADVICE)
    source = f"{data.name}: {count} of {len(images)} {split} images"
    files = tuple(image.path for image in chosen)
    validation = tuple(image.path for image in data.of("val"))
    return ProofImages(files, np.stack([found for _, found in loaded]), source, pixels, validation)


def _proven_hog(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, 1764) HOG of the proof's pixels, after comparing it with scikit-image's. Raises GateError."""
    try:
        from skimage.feature import hog as independent
    except ImportError as error:
        raise missing_engine("scikit-image", "baseline", error) from error
    grey = grey_levels(pixels)
    features = hog(grey)
    rule = {"orientations": 9, "pixels_per_cell": (8, 8), "cells_per_block": (2, 2), "block_norm": "L2-Hys"}
    wanted = np.stack([independent(image, **rule) for image in grey])
    worst = float(np.abs(features - wanted).max())
    if not worst <= _HOG_AGREES:
        raise GateError(f"HOG: {worst:.1e} off scikit-image's, tolerated {_HOG_AGREES:g}; please report this")
    return features


def _make(
    draft: Path,
    model: Model,
    data: DataSplit,
    data_sha256: str,
    images: ProofImages,
    found: NDArray[np.float64],
    training_s: float,
) -> Proof:
    """Writes, seals and proves the bundle in `draft`; the proof is in its manifest."""
    draft.mkdir()
    content = model.svm.to_bytes()
    (draft / MODEL).write_bytes(content)
    outputs = found.astype(np.float32)
    reference = Reference("scikit-learn", f"SVC(C={PENALTY:g}, gamma='scale') {hashlib.sha256(content).hexdigest()}")
    golden = write_golden(draft / "golden", images, outputs)
    manifest = _describe(data, data_sha256, images.contract, reference, golden, training_s)
    if data.multi_label:
        manifest = replace(manifest, scores="sigmoid", multi_label=True, thresholds=model.thresholds)
    return prove_and_seal(draft, manifest, images, outputs)[1]


def _describe(
    data: DataSplit, data_sha256: str, pixels: Pixels, reference: Reference, golden: Golden, training_s: float
) -> Manifest:
    return Manifest(
        task="classify",
        state="built",
        target=TARGET,
        inputs=(TensorSpec("pixels", "uint8", "NHWC", ("batch", SIDE_PX, SIDE_PX, 3)),),
        outputs=(
            TensorSpec("logits" if data.multi_label else "margins", "float32", "NC", ("batch", len(data.classes))),
        ),
        labels=data.classes,
        scores="margin",
        pixels=pixels,
        normalization=None,
        weights_precision="fp32",
        compute_precision="fp32",
        tolerances=TOLERANCES[PRECISION],
        provenance=Provenance(
            backbone="HOG and support vector machine",
            weights=f"trained on {len(data.of('train'))} images of {data.name}",
            created_utc=now_utc(),
            versions={name: version for name in _VERSIONED if (version := package_version(name))},
            training_seconds=round(training_s, 3),
            data_sha256=data_sha256,
        ),
        reference=reference,
        golden=golden,
    )


@dataclass(frozen=True, slots=True)
class _Tested:
    images: int = 0
    figure: str = "top-1"
    accuracy: float | None = None
    interval: Interval | None = None
    use: TestUse | None = None


def _test(bundle: Bundle, data: DataSplit, data_sha256: str, progress: Progress) -> _Tested:
    """The published bundle's accuracy on the test images, whose use is recorded first."""
    images = data.of("test")
    use = count_test_images(bundle.sidecar, images, subject=bundle.digest, data_sha256=data_sha256, verb="baseline")
    if use is None:
        return _Tested()
    found = predict_with_bundle(bundle, images, progress=progress)
    if found.unreadable:
        first = found.unreadable[0]
        raise DataError(f"{data.root}/{first.path}: {first.error}; {ADVICE}")
    groups = [image.group for image in images]
    manifest = bundle.manifest
    if manifest.multi_label:
        targets = label_targets(images, manifest.labels)
        figure = evaluate_labels(found.logits, targets, manifest.labels, groups=groups).main_figure
    else:
        right = found.logits.argmax(axis=1) == class_numbers(images, manifest.labels)
        resampling = Resampling(len(right), number_groups(groups))
        figure = MainFigure("top-1", float(right.mean()), accuracy_interval(right, resampling))
    record_test_result(bundle.sidecar, figure, subject=bundle.digest, images=len(images), data=data.name)
    return _Tested(len(images), figure.name, figure.value, figure.interval, use)
