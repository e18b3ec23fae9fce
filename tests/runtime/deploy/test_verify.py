"""`verify` from golden images alone: sound bundles pass, and a fault is laid at the right door."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from PIL import Image

from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.bundle.bundle import Bundle, pack
from edgeclf_runtime.bundle.dataclass_json import from_json
from edgeclf_runtime.bundle.golden import Golden
from edgeclf_runtime.bundle.manifest import Normalization, to_input
from edgeclf_runtime.bundle.proof import TOLERANCES, Proof, Tolerances
from edgeclf_runtime.bundle.quantization_report import AccuracyGate, GateEvaluation, Ladder, Step
from edgeclf_runtime.deploy.machine_proofs import save_proof
from edgeclf_runtime.deploy.verify import prove, verify
from edgeclf_runtime.errors import BackendError, BundleError
from edgeclf_runtime.images import pixels as pixels_module
from edgeclf_runtime.session import open_session


@pytest.mark.parametrize("target", tiny.TARGETS)
def test_a_sound_bundle_passes_on_every_backend(target: str, shared_bundle: Callable[[str], Bundle]) -> None:
    proof = verify(shared_bundle(target))
    assert (proof.verdict, proof.reasons, proof.decoding_faults) == ("pass", (), ())
    assert (proof.comparison.images, proof.comparison.agreement) == (8, 1.0)
    assert proof.compute_precision == "fp32"
    assert {"engine", "engine_version", "cpu", "pillow"} <= set(proof.machine)


def test_a_golden_image_that_decodes_otherwise_is_a_decoding_fault(bundle: Bundle) -> None:
    golden = bundle.path / "golden/00.jpg"
    tiny.opened(golden.read_bytes()).point(lambda level: 255 - level).save(golden)
    proof = verify(tiny.reseal(bundle.path))
    assert (proof.verdict, proof.decoding_faults) == ("fail", ("golden/00.jpg",))
    assert proof.max_pixel_levels > 10
    assert [reason.partition(":")[0] for reason in proof.reasons] == ["decoding"]
    assert "golden/00.jpg" in proof.reasons[0]


def test_a_golden_image_that_does_not_decode_is_a_decoding_fault(bundle: Bundle) -> None:
    (bundle.path / "golden/03.jpg").write_bytes(b"words")
    proof = verify(tiny.reseal(bundle.path))
    assert (proof.verdict, proof.decoding_faults, proof.max_pixel_levels) == ("fail", ("golden/03.jpg",), 255)


def test_a_decoder_that_is_a_level_off_is_a_decoding_fault(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    decode = pixels_module.decode

    def brighter(*arguments: Any, **options: Any) -> Any:
        decoded = decode(*arguments, **options)
        return replace(decoded, image=decoded.image.point(lambda level: min(255, level + 1)))

    monkeypatch.setattr(pixels_module, "decode", brighter)
    proof = verify(bundle)
    assert (proof.verdict, len(proof.decoding_faults), proof.max_pixel_levels) == ("fail", 8, 1)
    assert proof.comparison.max_relative < 1e-6  # the engine had the exporter's pixels


@pytest.mark.parametrize("target", tiny.TARGETS)
def test_other_weights_are_an_engine_fault(target: str, tmp_path: Path) -> None:
    folder = tiny.build(tmp_path / "b", target).path
    proof = verify(tiny.replace_weights(folder, seed=1))
    assert (proof.verdict, proof.decoding_faults) == ("fail", ())
    assert {reason.partition(":")[0] for reason in proof.reasons} == {"engine"}
    assert any("of their range" in reason for reason in proof.reasons)


def test_both_faults_are_both_named(bundle: Bundle) -> None:
    (bundle.path / "golden/03.jpg").write_bytes(b"words")
    proof = verify(tiny.replace_weights(bundle.path, seed=1))
    assert {reason.partition(":")[0] for reason in proof.reasons} == {"engine", "decoding"}


def test_few_golden_images_are_inconclusive(bundle: Bundle) -> None:
    golden = bundle.manifest.golden
    np.save(bundle.path / golden.outputs, bundle.read_array(golden.outputs)[:3])
    proof = verify(tiny.reseal(bundle.path, golden=replace(golden, images=golden.images[:3]), own=None))
    assert (proof.verdict, proof.reasons) == (
        "inconclusive",
        ("engine: 3 images are too few for a verdict; 5 more are needed",),
    )


def test_what_can_not_be_compared_is_a_bundle_error(bundle: Bundle) -> None:
    golden = bundle.manifest.golden
    fewer = replace(golden, images=golden.images[:3])
    none = Golden((), golden.outputs)
    for damaged, message in (
        (none, "no golden images"),
        (fewer, r"reference outputs \(8, 3\) for outputs of \(3, 3\)"),
    ):
        with pytest.raises(BundleError, match=message):
            verify(tiny.reseal(bundle.path, golden=damaged))


def test_stored_pixels_that_are_no_png_or_other_pixels_are_a_bundle_error(bundle: Bundle) -> None:
    stored = bundle.path / "golden/00.pixels.png"
    stored.write_bytes(b"words")
    with pytest.raises(BundleError, match="no PNG"):
        verify(tiny.reseal(bundle.path))
    Image.new("RGB", (8, 8)).save(stored)
    with pytest.raises(BundleError, match="reads other pixels"):
        verify(tiny.reseal(bundle.path))


def test_a_precision_that_is_not_available_is_not_verified_in_another(bundle: Bundle) -> None:
    with pytest.raises(BackendError, match="fp16"):
        verify(bundle, SessionOptions(compute_precision="fp16"))


def test_the_proof_lies_beside_the_bundle_and_the_bundle_stays_as_it_was(bundle: Bundle) -> None:
    proof = verify(bundle)
    first, second = save_proof(bundle, proof), save_proof(bundle, proof)
    assert first == second and first is not None and first.parent == bundle.path.parent / "bundle.proofs"
    record = json.loads(first.read_text())
    assert (record["schema"], record["bundle"]) == (2, bundle.digest)
    assert from_json(Proof, record["proof"], "proof") == proof
    Bundle.open(bundle.path).check_all()


def test_a_packed_bundle_shares_the_place_of_its_proofs(bundle: Bundle) -> None:
    packed = Bundle.open(pack(bundle, bundle.path.with_name("bundle.tar")))
    assert packed.sidecar == bundle.sidecar


def test_pixels_become_what_a_graph_wants_that_does_not_normalise_itself() -> None:
    pixels = tiny.random_pixels(2)
    by_caller = Normalization((0.5, 0.4, 0.3), (0.2, 0.3, 0.4), applied_by="caller")
    found = to_input(pixels, by_caller)
    assert (found.shape, found.dtype, found.flags.c_contiguous) == ((2, 3, 8, 8), np.float32, True)
    assert found[1, 2, 3, 4] == pytest.approx((pixels[1, 3, 4, 2] / 255 - 0.3) / 0.4, abs=1e-6)
    assert to_input(pixels, replace(by_caller, applied_by="graph")) is pixels
    assert to_input(pixels, None) is pixels


def test_where_every_image_is_a_near_tie_int8_rests_on_the_accuracy_gate_that_it_passed(bundle: Bundle) -> None:
    evaluated = GateEvaluation(
        900, "test images", True, 0.9, 0.9, 3, 3, 0.0, -0.4, 1.0, 0.001, 0.01, 0.1, 0.1, 1.0, "pass", ()
    )
    step = Step("int8 min-max", "int8", "", (), None, 1, evaluated, became="model")
    ladder = Ladder(AccuracyGate(), (step,), "int8 min-max", "why", (), (), None, {})
    reference = np.repeat(bundle.read_array(bundle.manifest.golden.outputs), 4, axis=0)
    wide = replace(bundle.manifest, tolerances=Tolerances(relative=0.9, cosine=0.5, kl=1.0))
    settings: dict[str, Any] = {"reference": reference, "decoding": [], "images_source": "", "images_sha256": ""}
    with open_session(bundle) as session:
        open_proof = prove(wide, reference, session=session, **settings)
        shown = prove(replace(wide, ladder=ladder), reference, session=session, **settings)
    assert (open_proof.verdict, shown.verdict) == ("inconclusive", "pass")
    assert "evaluated at export, on 900 images" in shown.reasons[0]


def test_a_requested_precision_is_evaluated_by_its_own_tolerances(bundle: Bundle) -> None:
    class Coarse:
        compute_precision, facts = "bf16", {"engine": "test"}

    reference = bundle.read_array(bundle.manifest.golden.outputs)
    off = reference + 0.01 * np.ptp(reference, axis=1, keepdims=True) * np.array([1, 0, 0], dtype=np.float32)
    settings: dict[str, Any] = {"reference": reference, "decoding": [], "images_source": "", "images_sha256": ""}
    assert prove(bundle.manifest, off, session=Coarse(), **settings).tolerances == TOLERANCES["bf16"]  # type: ignore[arg-type]
    Coarse.compute_precision = "fp32"
    assert prove(bundle.manifest, off, session=Coarse(), **settings).verdict == "fail"  # type: ignore[arg-type]
