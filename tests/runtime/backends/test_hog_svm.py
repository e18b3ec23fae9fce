"""HOG equals scikit-image's on photographs, and the SVM in plain arrays predicts as scikit-learn's SVC does."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tiny
from numpy.typing import NDArray
from PIL import Image

from edgeclf_runtime.backends import hog_svm
from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.backends.hog import FEATURES, grey_levels, hog, set_blas_threads
from edgeclf_runtime.backends.hog_svm import HogSvmEngine, margins_of_pairs, scale_features
from edgeclf_runtime.backends.svm import Svm, read_svm
from edgeclf_runtime.images.pixels import Pixels

PIXELS = Pixels("exact", (64, 64), (64, 64))
PHOTOGRAPHS = ("china.jpg", "flower.jpg", "coffee.png", "chelsea.png", "rocket.jpg", "astronaut.png", "coins.png")
RULE: dict[str, Any] = {
    "orientations": 9,
    "pixels_per_cell": (8, 8),
    "cells_per_block": (2, 2),
    "block_norm": "L2-Hys",
}


def crops(name: str, count: int, seed: int = 0) -> NDArray[np.uint8]:
    """(count, 64, 64, 3): crops of 40 to 160 pixels from a photograph, through the baseline's Pixels."""
    random = np.random.default_rng(seed)
    with Image.open(tiny.shipped(name)) as opened:
        photograph = opened.convert("RGB")
    found = []
    for _ in range(count):
        side = int(random.integers(40, 160))
        left, top = random.integers(0, photograph.width - side), random.integers(0, photograph.height - side)
        found.append(PIXELS.apply(photograph.crop((left, top, left + side, top + side))))
    return np.stack(found)


@pytest.fixture(scope="module")
def photographs() -> NDArray[np.uint8]:
    return np.concatenate([crops(name, 10) for name in PHOTOGRAPHS])


def test_grey_is_what_pillow_calls_l(photographs: NDArray[np.uint8]) -> None:
    wanted = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in photographs])
    assert np.array_equal(grey_levels(photographs), wanted)


def test_hog_equals_scikit_images_to_1e_6_on_photographs(photographs: NDArray[np.uint8]) -> None:
    from skimage.feature import hog as independent

    grey = grey_levels(photographs)
    found = hog(grey)
    assert (found.shape, found.dtype) == ((len(grey), 1764), np.float32)
    assert np.abs(found - np.stack([independent(image, **RULE) for image in grey])).max() < 1e-6


@pytest.mark.parametrize("kind", ["flat", "noise", "steps"])
def test_hog_equals_scikit_images_on_flat_noisy_and_stepped_images(kind: str) -> None:
    from skimage.feature import hog as independent

    random = np.random.default_rng(1)
    images = {
        "flat": np.full((3, 64, 64), 77, np.uint8),
        "noise": random.integers(0, 256, (40, 64, 64), dtype=np.uint8),
        "steps": (random.integers(0, 2, (10, 64, 64)) * 255).astype(np.uint8),
    }[kind]
    assert np.abs(hog(images) - np.stack([independent(image, **RULE) for image in images])).max() < 1e-6


def test_hog_is_the_same_in_any_batch(photographs: NDArray[np.uint8]) -> None:
    grey = grey_levels(photographs)
    together = hog(grey)
    assert np.array_equal(together, np.concatenate([hog(image[None]) for image in grey]))
    assert hog(grey[:0]).shape == (0, FEATURES)


@pytest.mark.parametrize("array", [np.zeros((1, 32, 64), np.uint8), np.zeros((1, 64, 64), np.float32)])
def test_hog_refuses_other_shapes_and_dtypes(array: Any) -> None:
    with pytest.raises(ValueError, match="wanted"):
        hog(array)


def fit(classes: int) -> tuple[Svm, Any]:
    """An SVC for that many classes, fitted on crops of photographs, and the same as arrays."""
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    features = []
    for label in range(classes):
        name = PHOTOGRAPHS[label % len(PHOTOGRAPHS)]
        images = crops(name, 24 + label, seed=label)
        features.append(hog(grey_levels(images if label < len(PHOTOGRAPHS) else images[:, ::-1])))
    stacked = np.concatenate(features)
    labels = np.repeat(np.arange(classes), [len(each) for each in features])
    scaler = StandardScaler().fit(stacked.astype(np.float64))
    classifier = SVC(C=10, gamma="scale", decision_function_shape="ovr", break_ties=True)
    classifier.fit(scale_features(stacked, scaler.mean_, scaler.scale_), labels)
    svm = Svm(
        mean=scaler.mean_,
        scale=scaler.scale_,
        support_vectors=classifier.support_vectors_.astype(np.float32),
        support_counts=classifier.n_support_.astype(np.int64),
        dual_coefficients=np.ascontiguousarray(classifier.dual_coef_),
        intercepts=classifier.intercept_,
        gamma=np.array(classifier._gamma),
    )
    return svm, classifier


@pytest.fixture(scope="module")
def three_classes() -> tuple[Svm, Any]:
    return fit(3)


@pytest.mark.parametrize("classes", [2, 3, pytest.param(10, marks=pytest.mark.slow)])
def test_margins_equal_scikit_learns_decision_function_and_order_classes_as_it_predicts(
    classes: int, photographs: NDArray[np.uint8]
) -> None:
    svm, classifier = fit(classes)
    found = HogSvmEngine(svm, SessionOptions()).infer(photographs)
    scaled = scale_features(hog(grey_levels(photographs)), svm.mean, svm.scale)
    wanted = classifier.decision_function(scaled)
    if classes == 2:
        wanted = np.stack([-wanted, wanted], axis=1)
    assert (found.shape, found.dtype) == ((len(photographs), classes), np.float32)
    assert np.abs(found - wanted).max() < 1e-5
    assert np.array_equal(found.argmax(axis=1), classifier.predict(scaled))


def test_votes_and_squeezed_sums_are_scikit_learns_for_any_decisions() -> None:
    from sklearn.utils.multiclass import _ovr_decision_function

    for classes in (3, 4, 10):
        pairs = np.random.default_rng(classes).normal(size=(200, classes * (classes - 1) // 2))
        wanted = _ovr_decision_function(pairs < 0, -pairs, classes)
        assert np.abs(margins_of_pairs(pairs, classes) - wanted).max() < 1e-12


def test_a_vote_too_close_for_fp32_is_settled_in_fp64(
    three_classes: tuple[Svm, Any], photographs: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = HogSvmEngine(three_classes[0], SessionOptions())
    scaled = scale_features(hog(grey_levels(photographs)), three_classes[0].mean, three_classes[0].scale)
    exact = margins_of_pairs(engine._decide(three_classes[0], scaled.astype(np.float64)), 3).astype(np.float32)
    monkeypatch.setattr(hog_svm, "_TOO_CLOSE", np.inf)
    assert np.array_equal(engine.infer(photographs), exact)


def test_memory_is_bounded_by_chunks_whatever_the_batch(
    three_classes: tuple[Svm, Any], photographs: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = HogSvmEngine(three_classes[0], SessionOptions()).infer(photographs)
    monkeypatch.setattr(hog_svm, "_WORKING_NUMBERS", 1)
    engine = HogSvmEngine(three_classes[0], SessionOptions())
    assert engine._chunk == 1
    assert np.abs(engine.infer(photographs) - wanted).max() < 1e-5


def test_arrays_survive_their_file_and_give_the_same_bytes(three_classes: tuple[Svm, Any]) -> None:
    svm = three_classes[0]
    read = read_svm(svm.to_bytes())
    assert isinstance(read, Svm) and read.to_bytes() == svm.to_bytes()
    assert np.array_equal(read.support_vectors, svm.support_vectors)


@pytest.mark.parametrize(
    "change",
    [
        {"gamma": np.array(0.0)},
        {"gamma": np.array(np.nan)},
        {"scale": np.zeros(FEATURES)},
        {"mean": np.zeros(3)},
        {"support_counts": np.array([1, 2, 3])},
        {"intercepts": np.zeros(4)},
        {"support_vectors": np.zeros((2, FEATURES))},
    ],
)
def test_arrays_that_do_not_fit_each_other_are_refused(three_classes: tuple[Svm, Any], change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(change)).partition("_")[0]):
        replace(three_classes[0], **change)


def test_compressed_and_pickled_arrays_are_refused(three_classes: tuple[Svm, Any]) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, mean=np.zeros(FEATURES))
    with pytest.raises(ValueError, match="compressed"):
        read_svm(buffer.getvalue())
    with zipfile.ZipFile(io.BytesIO(three_classes[0].to_bytes())) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    pickled = io.BytesIO()
    np.save(pickled, np.array([{}], dtype=object), allow_pickle=True)
    planted = io.BytesIO()
    with zipfile.ZipFile(planted, "w") as archive:
        for name, data in {**members, "mean.npy": pickled.getvalue()}.items():
            archive.writestr(name, data)
    with pytest.raises(ValueError, match="allow_pickle=False"):
        read_svm(planted.getvalue())


def test_threads_of_the_matrix_product_are_set_and_reported(three_classes: tuple[Svm, Any]) -> None:
    obeyed = set_blas_threads(1)
    facts = HogSvmEngine(three_classes[0], SessionOptions(threads=1)).facts
    assert facts["threads"] == ("1" if obeyed else "as numpy's BLAS decides")
