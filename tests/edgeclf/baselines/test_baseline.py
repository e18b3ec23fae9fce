"""The baseline becomes a bundle like any other, and its figures are what scikit-learn's own pipeline gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgeclf.baselines import kernel_svm
from edgeclf.baselines.baseline import PIXELS, Baseline, BaselineOptions, make_baseline
from edgeclf.baselines.kernel_svm import cross_validate, fit_svm
from edgeclf.data.split import open_data
from edgeclf.listing import list_folder
from edgeclf_runtime.backends import hog as runtime_hog
from edgeclf_runtime.backends.hog import grey_levels, hog
from edgeclf_runtime.bundle.bundle import Bundle, pack
from edgeclf_runtime.classifier import Classifier
from edgeclf_runtime.deploy.verify import verify
from edgeclf_runtime.errors import DataError, GateError, UsageError
from edgeclf_runtime.images.data_split import DataSplit

Crop = Callable[[str, Path, int], None]


def features_of(data: DataSplit, split: str) -> tuple[np.ndarray, np.ndarray]:
    items = [item for item in data.images if item.split == split]
    pixels = np.stack([item.load(PIXELS) for item in items])
    return hog(grey_levels(pixels)), np.array([data.classes.index(item.label) for item in items])


def test_the_bundle_is_proven_verifies_packs_and_predicts(made: Baseline, photos: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(made.path)
    assert made.proof.verdict == "pass"
    assert verify(bundle).verdict == "pass"
    packed = pack(bundle, tmp_path / "hog.tar")
    assert verify(Bundle.open(packed)).verdict == "pass"
    with Classifier.open(packed) as classifier:
        predictions = list(classifier.predict(photos / "petals", batch_size=7))
    assert len(predictions) == 40
    assert sum(each.label == "petals" for each in predictions) > 30


def test_the_manifest_says_where_it_comes_from(made: Baseline, data: DataSplit) -> None:
    manifest = Bundle.open(made.path).manifest
    assert (manifest.target, manifest.scores, manifest.labels) == ("hog-svm", "margin", data.classes)
    assert manifest.provenance.data_sha256 == data.digest
    assert manifest.provenance.training_seconds == pytest.approx(made.training_seconds, abs=1e-3)
    assert "val images" in made.proof.images_source


def test_accuracy_is_that_of_scikit_learns_own_pipeline(made: Baseline, data: DataSplit) -> None:
    from skimage.feature import hog as independent
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    parts = {}
    for split in ("train", "test"):
        items = [item for item in data.images if item.split == split]
        pixels = np.stack([item.load(PIXELS) for item in items])
        rule = {"orientations": 9, "pixels_per_cell": (8, 8), "cells_per_block": (2, 2), "block_norm": "L2-Hys"}
        labels = [item.label for item in items]
        parts[split] = [independent(image, **rule) for image in grey_levels(pixels)], labels
    pipeline = make_pipeline(StandardScaler(), SVC(C=10.0, kernel="rbf", gamma="scale", break_ties=True))
    assert made.test_accuracy == pytest.approx(pipeline.fit(*parts["train"]).score(*parts["test"]))


def test_one_matrix_product_gives_libsvms_own_solution(data: DataSplit, monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = features_of(data, "train")
    fast = fit_svm(features, labels)
    monkeypatch.setattr(kernel_svm, "_MOST_IN_ONE_KERNEL", 0)
    own = fit_svm(features, labels)
    assert own.classifier.kernel == "rbf"
    assert np.array_equal(fast.svm.support_vectors, own.svm.support_vectors)
    assert np.abs(fast.margins(features) - own.margins(features)).max() < 1e-6


def test_the_test_split_is_counted_and_used_once(made: Baseline) -> None:
    assert made.test_use is not None
    assert (made.test_use.number, made.test_use.images) == (1, made.test_images)
    assert made.test_interval is not None
    assert len(made.fold_accuracies) == 5


def test_runs_lists_the_accuracy_on_test_images(made: Baseline, data: DataSplit) -> None:
    (listed,) = list_folder(made.path.parent)
    assert listed.top1 == made.test_accuracy
    assert listed.measured_on == f"{made.test_images} test images of {data.name}"


def test_folds_shrink_with_the_smallest_class_and_vanish_with_a_single_image(data: DataSplit) -> None:
    features, labels = features_of(data, "train")
    few = np.concatenate([np.flatnonzero(labels == 0)[:3], np.flatnonzero(labels == 1)])
    assert len(cross_validate(features[few], labels[few], 5)) == 3
    assert cross_validate(features[few[2:]], labels[few[2:]], 5) == ()


def test_images_of_one_group_stay_in_one_fold(data: DataSplit) -> None:
    features, labels = features_of(data, "train")
    random = np.random.default_rng(0)
    scrambled = random.integers(0, 2, len(labels) // 2).repeat(2)  # labels that only a twin in training gives away
    twins = features[: len(scrambled) : 2].repeat(2, axis=0)
    groups = [str(i // 2) for i in range(len(scrambled))]
    alone = np.mean(cross_validate(twins, scrambled, 5))
    together = np.mean(cross_validate(twins, scrambled, 5, groups=groups))
    assert alone > 0.75 > together


def test_two_classes_work_and_data_without_test_and_val_say_so(crop: Crop, tmp_path: Path) -> None:
    for label, photograph in (("left", "china.jpg"), ("right", "flower.jpg")):
        crop(photograph, tmp_path / "data" / label, 12)
    data = open_data(tmp_path / "data", fractions=(1.0, 0.0, 0.0))
    made = make_baseline(data, BaselineOptions(output=tmp_path, folds=0))
    assert (made.test_accuracy, made.test_use, made.fold_accuracies) == (None, None, ())
    assert made.proof.verdict == "pass"
    assert "train images" in made.proof.images_source


def test_an_existing_bundle_is_kept_before_any_work_is_done(made: Baseline, data: DataSplit) -> None:
    with pytest.raises(UsageError, match="exists; give --force"):
        make_baseline(data, BaselineOptions(output=made.path.parent))


def test_an_unreadable_training_image_is_left_out_and_named_or_refused(crop: Crop, tmp_path: Path) -> None:
    for label, photograph in (("left", "china.jpg"), ("right", "flower.jpg")):
        crop(photograph, tmp_path / "data" / label, 12)
    data = open_data(tmp_path / "data")
    victim = data.of("train")[3].path
    victim.write_bytes(b"not an image")
    with pytest.raises(DataError, match=victim.name):
        make_baseline(data, BaselineOptions(output=tmp_path, strict=True))
    assert not list(tmp_path.glob("*hog-svm*"))
    made = make_baseline(data, BaselineOptions(output=tmp_path, folds=0))
    assert [Path(each.path).name for each in made.left_out] == [victim.name]
    assert made.training_images == len(data.of("train")) - 1
    assert Bundle.open(made.path).manifest.provenance.data_sha256 == data.digest


def test_a_bundle_that_predicts_otherwise_than_scikit_learn_is_kept_aside(
    data: DataSplit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeclf_runtime.backends import hog_svm

    monkeypatch.setattr(hog_svm.HogSvmEngine, "infer", lambda self, batch: np.zeros((len(batch), 3), np.float32))
    with pytest.raises(GateError, match="kept aside"):
        make_baseline(data, BaselineOptions(output=tmp_path, folds=0))
    assert [path.name for path in tmp_path.iterdir()] == ["photos-hog-svm-fp32.failed"]


def test_a_hog_that_differs_from_scikit_images_fails_as_a_gate(
    data: DataSplit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime_hog, "_CLIP", 0.3)
    with pytest.raises(GateError, match="scikit-image"):
        make_baseline(data, BaselineOptions(output=tmp_path, folds=0))


@pytest.mark.parametrize("wrong", [{"folds": 1}, {"folds": -2}, {"name": "../up"}, {"name": ""}])
def test_options_that_mean_nothing_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        BaselineOptions(**wrong)  # type: ignore[arg-type]
