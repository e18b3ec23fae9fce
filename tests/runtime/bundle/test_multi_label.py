"""Bundles that predict several labels an image: the decision, what the manifest allows, and what a proof finds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny

from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.bundle.atomic_write import MANIFEST
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.dataclass_json import to_json
from edgeclf_runtime.bundle.decision import decide
from edgeclf_runtime.bundle.manifest import Thresholds
from edgeclf_runtime.bundle.proof import TOLERANCES, compare, verdict_of
from edgeclf_runtime.classifier import Classifier
from edgeclf_runtime.deploy.build import build
from edgeclf_runtime.deploy.verify import keep_own_outputs, verify
from edgeclf_runtime.errors import BundleError
from edgeclf_runtime.metrics.energy import EnergyThreshold
from edgeclf_runtime.metrics.similarity import SimilarityThreshold
from edgeclf_runtime.monitoring.worth import why_worth_a_label

LEAST = Thresholds(per_class=(0.5, 0.2, 0.9))
_NEEDS = {"onnx": "onnxruntime", "openvino": "openvino", "litert": "ai_edge_litert", "pytorch": "torch"}
SEVERAL: dict[str, Any] = {"scores": "sigmoid", "multi_label": True, "thresholds": LEAST}


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """Of three labels, with the outputs and predictions that it gave where it was made."""
    made = tiny.build(tmp_path / "several", **SEVERAL)
    keep_own_outputs(made.path, made.manifest, SessionOptions())
    return Bundle.open(made.path)


def test_every_label_at_its_threshold_is_predicted_and_none_is_a_prediction(bundle: Bundle) -> None:
    manifest = replace(bundle.manifest, thresholds=Thresholds(per_class=(0.5, 0.2, 0.9)))
    found = decide(manifest, "image", np.array([0.0, -1.0, 2.0]), top=1)  # 0.5, 0.27 and 0.88
    assert (found.label, found.labels, found.label_text) == (None, ("leaf", "pagoda"), "leaf|pagoda")
    assert [score.label for score in found.scores] == ["sky"]  # the best class is listed, predicted or not
    none = decide(manifest, "image", np.array([-1.0, -3.0, 2.0]))
    assert (none.labels, none.label, none.error, none.unknown_by) == ((), None, None, None)
    assert decide(manifest, "image", np.array([-1.0, -3.0, 2.0]), threshold=0.8).labels == ("sky",)
    broken = decide(manifest, "image", np.array([np.nan, 0.0, 0.0]))
    assert broken.labels is None and broken.error is not None


def test_an_image_like_none_of_any_label_is_unknown_and_worth_a_label(bundle: Bundle) -> None:
    energy = EnergyThreshold(0.9, 0.01, 100)
    manifest = replace(bundle.manifest, thresholds=replace(LEAST, energy=energy))
    strange = decide(manifest, "image", np.array([-1.0, -1.0, -2.0]))  # 0.27, 0.27 and 0.12: an energy of 0.75
    assert (strange.label, strange.labels, strange.unknown_by, strange.label_text) == (
        "unknown",
        (),
        "energy",
        "unknown",
    )
    assert decide(manifest, "image", np.array([-1.0, -1.0, -2.0]), threshold=0.2).labels == ("leaf", "pagoda")
    nearly = decide(manifest, "image", np.array([-3.0, -3.0, 0.3]))  # far below all thresholds of the labels
    assert (nearly.label, nearly.labels, nearly.unknown_by) == (None, (), None)
    reasons = [why_worth_a_label(each, manifest) for each in (strange, nearly)]
    assert reasons == ["unknown", "near a threshold"] and "unknown below energy 0.9" in manifest.thresholds_in_words
    like_no_mean = replace(manifest, thresholds=replace(LEAST, features=SimilarityThreshold(0.5, 0.01, 100)))
    found = [decide(like_no_mean, "image", np.array([1.0, 0, 0]), similarity=each) for each in (0.4, 0.6)]
    assert [each.unknown_by for each in found] == ["features", None] and found[1].labels == ("leaf", "pagoda")


def test_the_json_of_one_label_an_image_does_not_change(bundle: Bundle, tmp_path: Path) -> None:
    single = tiny.build(tmp_path / "single")
    assert "multi_label" not in json.loads(single.manifest.to_bytes())
    assert "labels" not in to_json(decide(single.manifest, "image", np.zeros(3)))
    assert "decisions" not in to_json(
        compare(np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32), TOLERANCES["fp32"])
    )
    assert json.loads(bundle.manifest.to_bytes())["multi_label"] is True
    assert to_json(decide(bundle.manifest, "image", np.full(3, -9.0)))["labels"] == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scores": "softmax"}, "several labels an image need sigmoid scores, found softmax"),
        ({"thresholds": Thresholds()}, "a threshold of 0 to 1 for each label"),
        ({"thresholds": Thresholds(per_class=(0.5, 1.5, 0.5))}, "a threshold of 0 to 1 for each label"),
        ({"thresholds": Thresholds(per_class=(0.5, float("nan"), 0.5))}, "a threshold of 0 to 1 for each label"),
        ({"thresholds": Thresholds(0.3, (0.5, 0.5, 0.5))}, 'no score makes it "unknown"'),
    ],
)
def test_a_manifest_without_a_threshold_for_each_label_is_refused(
    changes: dict[str, Any], message: str, bundle: Bundle
) -> None:
    with pytest.raises(ValueError, match=message):
        replace(bundle.manifest, **changes)


def test_a_threshold_beyond_1_in_a_file_is_named_with_the_bundle(bundle: Bundle) -> None:
    place = bundle.path / MANIFEST
    content = json.loads(place.read_text())
    content["thresholds"]["per_class"][1] = 1.2
    del content["manifest_sha256"]
    place.write_text(json.dumps(content))
    with pytest.raises(BundleError, match=r"manifest.json: .*a threshold of 0 to 1 for each label"):
        Bundle.open(bundle.path)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"thresholds": Thresholds(per_class=(0.5, 0.3, 0.9))},
            "1 of 3 thresholds are others, such as that of 'pagoda'",
        ),
        (
            {"thresholds": Thresholds(per_class=(0.5, 0.5, 0.5))},
            "2 of 3 thresholds are others, such as that of 'pagoda'",
        ),
        ({"labels": ("pagoda", "leaf", "sky")}, "2 of 3 labels are others, such as number 0: 'pagoda', was 'leaf'"),
        ({"multi_label": False, "thresholds": Thresholds()}, "an image has one label, had several labels"),
        ({"temperature": 2.0}, "temperature is 2, was 1"),
    ],
)
def test_a_changed_or_lost_threshold_and_swapped_names_fail_verify(
    changes: dict[str, Any], reason: str, bundle: Bundle
) -> None:
    assert verify(bundle).verdict == "pass"
    proof = verify(tiny.reseal(bundle.path, **changes))
    assert proof.verdict == "fail"
    assert any(each.startswith("predictions: ") and reason in each for each in proof.reasons), proof.reasons


def test_swapped_columns_of_the_model_fail_verify(bundle: Bundle) -> None:
    with np.load(bundle.path / "model.npz") as file:
        swapped = {name: np.roll(value, 1, axis=-1) if value.shape[-1] == 3 else value for name, value in file.items()}
    np.savez(bundle.path / "model.npz", **swapped)
    proof = verify(tiny.reseal(bundle.path))
    assert proof.verdict == "fail" and any(each.startswith("engine: ") for each in proof.reasons)


def test_a_proof_counts_labels_at_their_thresholds() -> None:
    random = np.random.default_rng(0)
    wanted = random.normal(0, 4, (40, 3)).astype(np.float32)
    least = np.array([-1.0, 0.0, 2.0])
    fp16 = TOLERANCES["fp16"]
    same = compare(wanted, wanted, fp16, least)
    assert (same.decisions, same.flips, same.agreement, same.mean_average_precision) == (120, 0, 1.0, 1.0)
    assert verdict_of(same, fp16) == ("pass", ())
    found = wanted.copy()
    far = np.flatnonzero(wanted[:, 1] > 3)[:2]
    found[far, 1] *= -1
    moved = compare(wanted, found, fp16, least)
    assert moved.flips == 2 and moved.agreement == pytest.approx(118 / 120)
    assert moved.mean_average_precision is not None and moved.mean_average_precision < 1
    flipped = "2 of 120 predictions outside near ties, label by label, are others"
    assert flipped in verdict_of(moved, fp16)[1]
    undecided = np.tile(least, (9, 1)).astype(np.float32)
    assert verdict_of(compare(undecided, undecided, fp16, least), fp16)[0] == "inconclusive"
    found[0] = np.nan
    lost = compare(wanted, found, fp16, least)
    assert (lost.non_finite, lost.flips) == (1, 5 if 0 not in far else 4)


@pytest.mark.parametrize("target", ["reference", "onnx", "openvino", "litert", "pytorch", "tensorrt"])
def test_every_backend_predicts_the_same_labels(target: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    pytest.importorskip(_NEEDS.get(target, "numpy"))
    pixels = tiny.random_pixels(6, target)
    logits = tiny.reference_logits(target, pixels).astype(np.float64)
    cut = np.sort(logits, axis=0)[2:4].mean(axis=0)  # each label is on half of the images
    least = Thresholds(per_class=tuple((1 / (1 + np.exp(-cut))).tolist()))
    made = tiny.build(tmp_path / target, target, **{**SEVERAL, "thresholds": least})
    if target == "tensorrt":
        request.getfixturevalue("gpu")
        made = build(made, destination=tmp_path / "built").bundle
        assert made.manifest.multi_label and made.manifest.thresholds == least
    with Classifier.open(made) as classifier:
        found = [set(each.labels or ()) for each in classifier.predict(list(pixels))]
    assert found == [{tiny.LABELS[i] for i in np.flatnonzero(row >= cut)} for row in logits]


def test_an_image_with_a_score_near_its_threshold_is_worth_a_label(bundle: Bundle) -> None:
    manifest = bundle.manifest
    near, sure = decide(manifest, "image", np.array([0.3, -9, -9])), decide(manifest, "image", np.array([9.0, 9.0, -9]))
    assert why_worth_a_label(near, manifest) == "near a threshold"
    assert why_worth_a_label(sure, manifest) is None and why_worth_a_label(near, manifest, 0.99) is None
