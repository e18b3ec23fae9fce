"""A bundle against itself: what it computed where it was made, and the predictions that followed from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from numpy.typing import NDArray

from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.manifest import Manifest, Thresholds
from edgeclf_runtime.bundle.own_check import OTHER_PROCESSOR, SAME_PROCESSOR
from edgeclf_runtime.bundle.own_outputs import record_own_outputs, record_predictions_again
from edgeclf_runtime.bundle.proof import MOST_MEASURED, TOLERANCES, Tolerances
from edgeclf_runtime.bundle.quantization_report import AccuracyGate, GateEvaluation, Ladder, Step
from edgeclf_runtime.deploy.verify import verify
from edgeclf_runtime.errors import BundleError
from edgeclf_runtime.machine.facts import machine_facts
from edgeclf_runtime.metrics.energy import EnergyThreshold
from edgeclf_runtime.session import open_session


def reference_of(bundle: Bundle) -> NDArray[np.float32]:
    return bundle.read_array(bundle.manifest.golden.outputs)


def made_here(bundle: Bundle, outputs: NDArray[np.float32], **changes: Any) -> Bundle:
    """The bundle as if it had given `outputs` on this very machine."""
    with open_session(bundle) as session:
        facts = {**machine_facts(), **session.facts}
    manifest = replace(bundle.manifest, **changes)
    own = record_own_outputs(bundle.path, manifest, outputs, facts, manifest.compute_precision)
    return tiny.reseal(bundle.path, own=own, **changes)


def int8(verdict: str = "pass") -> dict[str, Any]:
    """Changes of a manifest that make it one of int8, whose accuracy was evaluated on 900 images."""
    evaluated = GateEvaluation(
        900, "test images", True, 0.9, 0.9, 3, 3, 0.0, -0.4, 1.0, 0.001, 0.01, 0.1, 0.1, 1.0, verdict, ()
    )  # type: ignore[arg-type]
    step = Step("int8 min-max", "int8", "", (), None, 1, evaluated, became="model")
    ladder = Ladder(AccuracyGate(), (step,), "int8 min-max", "why", (), (), None, {})
    return {
        "weights_precision": "int8",
        "ladder": ladder,
        "tolerances": Tolerances(relative=0.9, cosine=0.6, kl=2.0),
    }


@pytest.mark.parametrize("target", tiny.TARGETS)
def test_every_backend_gives_its_own_outputs_again(target: str, shared_bundle: Callable[[str], Bundle]) -> None:
    own = verify(shared_bundle(target)).own
    assert own is not None
    assert own.comparison.max_relative <= own.tolerances.relative == TOLERANCES["fp32"].relative


def test_the_limit_is_tight_where_engine_and_processor_are_the_same(bundle: Bundle) -> None:
    outputs = reference_of(bundle) + np.float32(0.01) * np.ptp(reference_of(bundle), axis=1, keepdims=True)
    proof = verify(made_here(bundle, outputs, **int8()))
    assert proof.own is not None and (proof.own.differs, proof.own.tolerances) == ((), SAME_PROCESSOR)
    assert proof.verdict == "fail"
    assert "from what this bundle gave where it was made" in proof.reasons[0]


def test_int8_of_another_processor_has_a_wider_limit_and_reports_what_differs(bundle: Bundle) -> None:
    outputs = reference_of(bundle) * np.float32(1.001)
    made = made_here(bundle, outputs, **int8())
    own = made.manifest.own
    assert own is not None
    elsewhere = replace(own, machine={**own.machine, "cpu_features": "sve9", "engine_version": "0.1"})
    proof = verify(tiny.reseal(bundle.path, own=elsewhere))
    assert (proof.verdict, proof.own.tolerances if proof.own else None) == ("pass", OTHER_PROCESSOR["int8"])
    assert proof.own is not None
    assert any("lacks sve9" in each for each in proof.own.differs)
    assert any("engine version" in each and "0.1" in each for each in proof.own.differs)


def test_an_accuracy_gate_that_held_excuses_no_other_computation(bundle: Bundle) -> None:
    sound = made_here(bundle, reference_of(bundle), **int8())
    assert verify(sound).verdict == "pass"
    proof = verify(tiny.replace_weights(bundle.path, seed=1))
    assert proof.verdict == "fail"
    assert all(reason.startswith("engine: ") for reason in proof.reasons)


def test_an_accuracy_gate_that_was_not_settled_stays_inconclusive_with_the_number_of_images(bundle: Bundle) -> None:
    proof = verify(made_here(bundle, reference_of(bundle), **int8("inconclusive")))
    assert proof.verdict == "inconclusive"
    assert "not settled at export, on 900 images" in proof.reasons[0]


def test_farther_from_the_reference_than_at_export_fails_on_any_processor(bundle: Bundle) -> None:
    reference = reference_of(bundle)
    spread = np.ptp(reference, axis=1, keepdims=True)
    near = reference + np.float32(1e-4) * spread * np.array([[1, -1, 1]], np.float32)
    made = made_here(bundle, near, **int8())
    own = made.manifest.own
    assert own is not None
    np.save(bundle.path / made.manifest.golden.outputs, reference + 0.08 * spread * np.array([[1, -1, 1]], np.float32))
    proof = verify(tiny.reseal(bundle.path, own=replace(own, machine={})))
    assert proof.own is not None and proof.own.comparison.max_relative < proof.own.tolerances.relative
    assert proof.verdict == "pass"  # as far at export as here
    np.save(bundle.path / own.outputs, reference + 0.08 * spread * np.array([[1, -1, 1]], np.float32))
    proof = verify(tiny.reseal(bundle.path, own=replace(own, machine={})))
    assert proof.verdict == "fail"
    assert any("from the reference" in reason for reason in proof.reasons)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"labels": ("pagoda", "leaf", "sky")}, "2 of 3 labels are others, such as number 0: 'pagoda', was 'leaf'"),
        ({"temperature": 1.5}, "temperature is 1.5, was 1"),
        ({"thresholds": Thresholds(unknown_below=0.3)}, "the threshold of 'unknown' is 0.3, was None"),
        ({"thresholds": Thresholds(per_class=(0.1, 0.2, 0.3))}, "thresholds of single classes"),
        (
            {"thresholds": Thresholds(energy=EnergyThreshold(1.5, 0.01, 90))},
            "the threshold of the energy is energy 1.5",
        ),
        ({"scores": "sigmoid"}, "scores are sigmoid, were softmax"),
    ],
)
def test_what_a_user_sees_is_part_of_the_proof(bundle: Bundle, changes: dict[str, Any], reason: str) -> None:
    proof = verify(tiny.reseal(bundle.path, **changes))
    assert proof.verdict == "fail"
    assert any(each.startswith("predictions: ") and reason in each for each in proof.reasons)
    assert not any(each.startswith("engine: ") for each in proof.reasons)


def test_altered_predictions_are_named_with_the_image_s_prediction(bundle: Bundle) -> None:
    proof = verify(tiny.reseal(bundle.path, labels=("pagoda", "leaf", "sky")))
    assert any("golden images get another prediction from the same logits" in reason for reason in proof.reasons)


def test_a_bundle_whose_thresholds_were_chosen_anew_keeps_its_predictions_anew(bundle: Bundle) -> None:
    manifest: Manifest = replace(bundle.manifest, thresholds=Thresholds(unknown_below=0.9))
    record_predictions_again(bundle.path, manifest)
    assert verify(tiny.reseal(bundle.path, thresholds=manifest.thresholds)).verdict == "pass"


def test_a_bundle_of_before_verifies_by_its_reference_with_a_note(bundle: Bundle) -> None:
    proof = verify(tiny.reseal(bundle.path, own=None))
    assert (proof.verdict, proof.own) == ("pass", None)
    assert any("keeps no own outputs" in note for note in proof.notes)


def test_relaxed_tolerances_do_not_rule_and_are_noted(bundle: Bundle) -> None:
    relaxed = Tolerances(relative=10.0, cosine=-1.0, kl=100.0)
    proof = verify(tiny.reseal(bundle.path, tolerances=relaxed))
    assert (proof.verdict, proof.tolerances) == ("pass", TOLERANCES["fp32"])
    assert any("tolerates more than fp32 needs (relative 10" in note for note in proof.notes)
    tiny.replace_weights(bundle.path, seed=1)
    assert verify(tiny.reseal(bundle.path, own=None)).verdict == "fail"


def test_relaxed_tolerances_of_int8_are_noted_too(bundle: Bundle) -> None:
    relaxed = {**int8(), "tolerances": Tolerances(relative=10.0, cosine=-1.0, kl=100.0)}
    proof = verify(made_here(bundle, reference_of(bundle), **relaxed))
    assert (proof.verdict, proof.tolerances) == ("pass", MOST_MEASURED)
    assert any("tolerates more than" in note for note in proof.notes)


def test_stricter_tolerances_of_a_manifest_rule(bundle: Bundle) -> None:
    strict = Tolerances(relative=1e-5, cosine=0.999999, kl=1e-5)
    proof = verify(tiny.reseal(bundle.path, tolerances=strict))
    assert proof.tolerances == strict
    assert not any("tolerates more" in note for note in proof.notes)


def test_own_outputs_of_another_shape_are_a_bundle_error(bundle: Bundle) -> None:
    own = bundle.manifest.own
    assert own is not None
    np.save(bundle.path / own.outputs, reference_of(bundle)[:3])
    with pytest.raises(BundleError, match=r"own outputs \(3, 3\) beside the reference's \(8, 3\)"):
        verify(tiny.reseal(bundle.path))


@pytest.mark.parametrize("damage", [b"words", b"{}", b'{"labels": 3}'])
def test_damaged_predictions_are_a_bundle_error(bundle: Bundle, damage: bytes) -> None:
    own = bundle.manifest.own
    assert own is not None and own.predictions is not None
    (bundle.path / own.predictions).write_bytes(damage)
    with pytest.raises(BundleError, match="own_predictions"):
        verify(tiny.reseal(bundle.path))


def test_own_outputs_without_predictions_or_probes_fail(bundle: Bundle) -> None:
    """Else taking them away would be the way to alter labels or a background."""
    own, golden = bundle.manifest.own, bundle.manifest.golden
    assert own is not None
    proof = verify(tiny.reseal(bundle.path, own=replace(own, predictions=None), golden=replace(golden, probes=())))
    assert proof.verdict == "fail"
    assert [reason.partition(":")[0] for reason in proof.reasons] == ["decoding", "predictions"]


def test_int8_that_keeps_no_own_outputs_is_inconclusive_at_best(bundle: Bundle) -> None:
    proof = verify(tiny.reseal(bundle.path, own=None, **int8()))
    assert proof.verdict == "inconclusive"
    assert "int8 without its own outputs" in proof.reasons[0]


def test_a_probe_that_is_read_otherwise_is_named_without_levels(bundle: Bundle) -> None:
    pixels = bundle.manifest.pixels
    assert pixels is not None
    proof = verify(tiny.reseal(bundle.path, pixels=replace(pixels, background=(0, 0, 0))))
    assert (proof.verdict, proof.decoding_faults) == ("fail", ())
    assert proof.reasons == ("decoding: a background comes out otherwise than where the bundle was made",)


@pytest.mark.parametrize("target", ["onnx", "openvino"])
@pytest.mark.parametrize("part", ["inputs", "outputs"])
def test_a_graph_of_another_shape_than_the_manifest_states_is_a_bundle_error(
    target: str, part: str, tmp_path: Path
) -> None:
    bundle = tiny.build(tmp_path / "bundle", target)
    (entry,) = getattr(bundle.manifest, part)
    changes: dict[str, Any] = {part: (replace(entry, shape=(*entry.shape[:-1], 4)),)}
    if part == "outputs":
        changes |= {"labels": (*tiny.LABELS, "sea")}
    with pytest.raises(BundleError, match=f"the manifest and the graph have another {part[:-1]}"):
        verify(tiny.reseal(bundle.path, **changes))


def test_a_claim_to_compute_in_less_than_is_stored_widens_no_limit(tmp_path: Path) -> None:
    proof = verify(tiny.build(tmp_path / "bundle", "onnx", compute_precision="fp16"))
    assert proof.verdict == "fail"
    assert any("which onnxruntime does not do" in reason for reason in proof.reasons)


def test_the_example_of_another_prediction_shows_what_differs(bundle: Bundle) -> None:
    proof = verify(tiny.reseal(bundle.path, temperature=1.001))
    (example,) = [reason for reason in proof.reasons if "another prediction" in reason]
    is_now, was = example.rpartition("such as ")[2].split(", was ")
    assert is_now != was


def test_where_the_best_class_is_the_same_the_example_shows_the_next_one(bundle: Bundle) -> None:
    examples = []
    for order in ((1, 0, 2), (2, 1, 0), (0, 2, 1)):  # one of them leaves the first image's best class alone
        proof = verify(tiny.reseal(bundle.path, labels=tuple(tiny.LABELS[place] for place in order)))
        examples += [reason for reason in proof.reasons if "another prediction" in reason]
    assert sorted("number 2: " in example for example in examples) == [False, False, True]


def test_mixed_precision_is_tolerated_as_int8_is(bundle: Bundle) -> None:
    proof = verify(tiny.reseal(bundle.path, weights_precision="mixed"))
    assert (proof.verdict, proof.tolerances) == ("pass", TOLERANCES["fp32"])  # the manifest's own, which are stricter
