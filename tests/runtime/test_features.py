"""Features: a second output on every backend that gives them, a rule for "unknown", and the nearest images."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
import tiny_features

from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.bundle.atomic_write import MANIFEST
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.feature_info import CLASS_MEANS, REFERENCE_FEATURES
from edgeclf_runtime.bundle.manifest import Thresholds
from edgeclf_runtime.classifier import Classifier
from edgeclf_runtime.deploy.build import build
from edgeclf_runtime.deploy.verify import verify
from edgeclf_runtime.errors import BundleError, UsageError
from edgeclf_runtime.metrics.similarity import SimilarityThreshold
from edgeclf_runtime.session import open_session


@pytest.fixture(params=(*tiny_features.TARGETS, "tensorrt"))
def featured(request: pytest.FixtureRequest, tmp_path: Path) -> Bundle:
    """A bundle with features on each backend that gives them."""
    made = tiny_features.build(tmp_path / "made", request.param)
    if request.param != "tensorrt":
        return made
    request.getfixturevalue("gpu")
    return build(made, destination=tmp_path / "built").bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return tiny_features.build(tmp_path / "bundle")


def test_features_come_with_the_logits_of_the_same_run_and_the_bundle_verifies(featured: Bundle) -> None:
    target = featured.manifest.target
    batch = tiny.random_pixels(5, target)
    with open_session(featured, SessionOptions(threads=1)) as session:
        logits, features = session.with_features(batch)
        assert tiny.close_to(session(batch), logits)
    assert tiny.close_to(logits, tiny.reference_logits(target, batch))
    assert tiny.close_to(features, tiny_features.reference_features(target, batch))
    proof = verify(featured, SessionOptions(threads=1))
    assert (proof.verdict, proof.reasons) == ("pass", ())


def test_threads_get_the_features_of_their_own_images(featured: Bundle) -> None:
    target = featured.manifest.target
    batches = [tiny.random_pixels(2, target, seed) for seed in range(12)]
    with open_session(featured, SessionOptions(threads=1)) as session, ThreadPoolExecutor(4) as threads:
        found = list(threads.map(session.with_features, batches))
    for batch, (logits, features) in zip(batches, found, strict=True):
        assert tiny.close_to(logits, tiny.reference_logits(target, batch))
        assert tiny.close_to(features, tiny_features.reference_features(target, batch))


def test_a_graph_fixed_to_a_batch_is_filled_up_for_features_too(tmp_path: Path) -> None:
    batch = tiny.random_pixels(5, "onnx")
    with open_session(tiny_features.build(tmp_path / "four", "onnx", batch=4)) as session:
        logits, features = session.with_features(batch)
        assert (logits.shape, features.shape) == ((5, 3), (5, 192))
        assert tiny.close_to(features, tiny_features.reference_features("onnx", batch))


@pytest.mark.parametrize("target", ["onnx", "litert"])
def test_a_bundle_of_before_names_the_command_that_makes_features(target: str, tmp_path: Path) -> None:
    before = tiny.build(tmp_path / "before", target)
    with open_session(before) as session, pytest.raises(UsageError, match="edgeclf export RUN --features"):
        session.with_features(tiny.random_pixels(1, target))
    with Classifier.open(before) as classifier, pytest.raises(BundleError, match="edgeclf export RUN --features"):
        classifier.predict(tiny.shipped("china.jpg"), nearest=1)


def test_a_manifest_without_features_says_nothing_of_them(tmp_path: Path) -> None:
    before = json.loads((tiny.build(tmp_path / "before").path / MANIFEST).read_text())
    assert "features" not in before
    assert "features" not in before["thresholds"]


def test_an_image_unlike_every_class_mean_is_unknown_by_its_features(bundle: Bundle) -> None:
    images = [bundle.path / golden.image for golden in bundle.manifest.golden.images]
    with Classifier.open(bundle) as classifier:
        similar = [found.similarity or 0.0 for found in classifier.predict(images)]
        assert max(similar[:3]) == pytest.approx(1.0)
    least = SimilarityThreshold(min(similar) + 1e-6, 0.01, 8)
    changed = tiny.reseal(bundle.path, thresholds=Thresholds(features=least))
    with Classifier.open(changed) as classifier:
        found = list(classifier.predict(images))
        assert [each.unknown_by for each in found].count("features") == 1
        assert {each.label for each in found if each.unknown_by} == {"unknown"}
        assert [each.unknown_by for each in classifier.predict(images, threshold=0.0)] == [None] * len(images)


def test_the_nearest_training_images_come_first(bundle: Bundle) -> None:
    golden = [bundle.path / each.image for each in bundle.manifest.golden.images]
    with Classifier.open(bundle) as classifier:
        found = list(classifier.predict(golden, nearest=2, batch_size=3))
    assert [each.nearest[0].path for each in found] == [f"train/{i}.jpg" for i in range(len(golden))]
    assert all(len(each.nearest) == 2 and each.nearest[0].similarity >= each.nearest[1].similarity for each in found)


def test_a_bundle_without_an_index_names_the_option(tmp_path: Path) -> None:
    made = tiny_features.build(tmp_path / "made")
    assert made.manifest.features is not None
    bare = tiny.reseal(made.path, features=replace(made.manifest.features, index=None, index_names=None))
    with Classifier.open(bare) as classifier, pytest.raises(BundleError, match="--nearest-images 2000"):
        classifier.predict(tiny.shipped("china.jpg"), nearest=1)


@pytest.mark.parametrize("planted", ["swapped", "altered"])
def test_features_that_are_others_fail_the_proof_though_logits_are_right(planted: str, bundle: Bundle) -> None:
    """As of a graph whose second output is another tensor: the files agree with their hashes."""
    for name in (REFERENCE_FEATURES, "golden/own_features.npy"):
        features = np.load(bundle.path / name)
        changed = features[::-1] if planted == "swapped" else features + 0.01 * features.max()
        np.save(bundle.path / name, changed)
        proof = verify(tiny.reseal(bundle.path))
        assert proof.verdict == "fail"
        assert any(reason.startswith("features: ") for reason in proof.reasons)
        np.save(bundle.path / name, features)


def test_class_means_of_another_width_are_refused(bundle: Bundle) -> None:
    np.save(bundle.path / CLASS_MEANS, np.zeros((3, 7), np.float32))
    changed = tiny.reseal(bundle.path)
    with pytest.raises(BundleError, match="class means"):
        Classifier.open(changed)
    with pytest.raises(BundleError, match="class means"):
        verify(changed)
