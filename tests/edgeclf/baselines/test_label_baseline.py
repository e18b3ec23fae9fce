"""The baseline of several labels an image: scikit-learn's classifiers, one a label, as a proven bundle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from edgeclf.baselines.baseline import PIXELS, Baseline, BaselineOptions, make_baseline
from edgeclf.baselines.label_svm import cross_validate_labels, fit_label_svms
from edgeclf.data.split import open_data
from edgeclf.listing import list_folder
from edgeclf_runtime.backends.hog import grey_levels, hog
from edgeclf_runtime.backends.svm import LabelSvm, read_svm
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.classifier import Classifier
from edgeclf_runtime.deploy.verify import verify
from edgeclf_runtime.errors import DataError
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.images.labelled import LabelledImage, label_targets

LABELS = ("bars", "steps")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataSplit:
    """64 noisy images with upright bars on their left, steps on their right, both or neither."""
    folder, random = tmp_path_factory.mktemp("stripes"), np.random.default_rng(0)
    rows = ["path,labels"]
    for number in range(64):
        image = random.integers(90, 166, (64, 64))
        shown = [label for place, label in enumerate(LABELS) if number >> place & 1]
        if "bars" in shown:
            image[:, :32:8] -= 45
        if "steps" in shown:
            image[::8, 32:] += 45
        Image.fromarray(image.astype(np.uint8)).save(folder / f"{number}.png")
        rows.append(f"{number}.png,{'|'.join(shown)}")
    (folder / "stripes.csv").write_text("\n".join(rows) + "\n")
    return open_data(folder / "stripes.csv", seed=0, several_labels="known")


@pytest.fixture(scope="module")
def made(data: DataSplit, tmp_path_factory: pytest.TempPathFactory) -> Baseline:
    return make_baseline(data, BaselineOptions(output=tmp_path_factory.mktemp("made"), name="stripes", folds=3))


def features_of(images: tuple[LabelledImage, ...]) -> np.ndarray:
    return hog(grey_levels(np.stack([image.load(PIXELS) for image in images])))


def test_its_margins_and_map_are_those_of_scikit_learns_own_pipelines(made: Baseline, data: DataSplit) -> None:
    train, test = data.of("train"), data.of("test")
    targets, features = label_targets(train, data.classes), features_of(train)
    pipelines = [
        make_pipeline(StandardScaler(), SVC(C=10.0, gamma="scale")).fit(features, targets[:, number])
        for number in range(len(data.classes))
    ]
    held_out = features_of(test)
    wanted = np.stack([each.decision_function(held_out) for each in pipelines], axis=1)
    assert np.abs(fit_label_svms(features, targets).margins(held_out) - wanted).max() < 1e-4
    found = average_precision_score(label_targets(test, data.classes), wanted)
    assert made.figure == "mAP" and made.test_accuracy == pytest.approx(found)
    (listed,) = list_folder(made.path.parent)
    assert listed.mean_average_precision == made.test_accuracy and "test images of" in listed.measured_on
    assert len(made.fold_accuracies) == 3 and all(0 <= each <= 1 for each in made.fold_accuracies)
    assert len(cross_validate_labels(features, targets, 3, groups=["a"] * 20 + ["b"] * (len(train) - 20))) == 2


def test_the_bundle_is_proven_and_predicts_each_label_by_itself(made: Baseline, data: DataSplit) -> None:
    bundle = Bundle.open(made.path)
    manifest = bundle.manifest
    assert made.proof.verdict in ("pass", "inconclusive") and verify(bundle).verdict == made.proof.verdict
    assert (manifest.multi_label, manifest.scores, manifest.labels) == (True, "sigmoid", data.classes)
    svm = read_svm(bundle.read("model.npz"))
    assert isinstance(svm, LabelSvm) and read_svm(svm.to_bytes()).to_bytes() == svm.to_bytes()
    images = data.of("train")
    with Classifier.open(bundle) as classifier:
        predictions = list(classifier.predict([image.path for image in images]))
    wrong = sum(
        set(each.labels or ()) != set(image.labels or ()) for each, image in zip(predictions, images, strict=True)
    )
    assert wrong <= 0.2 * len(images)


def test_a_label_that_no_training_image_has_is_refused(data: DataSplit, tmp_path: Path) -> None:
    kept = tuple(image for image in data.images if image.split != "train" or "bars" not in (image.labels or ()))
    with pytest.raises(DataError, match="no training image of 'bars'"):
        make_baseline(
            DataSplit(root=data.root, classes=data.classes, images=kept, multi_label=True),
            BaselineOptions(output=tmp_path),
        )
