"""From the trained network to a bundle that passes its accuracy gate, or to none."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from patches import LABELS, TEST

from edgeclf.verbs.shared.exporting.results import collect
from edgeclf_export.exportable import Exportable, Training
from edgeclf_export.exporter import export, export_each
from edgeclf_export.options import ExportOptions
from edgeclf_export.quantize import export_quantized, ladder, selection
from edgeclf_export.quantize.calibration_data import Int8Options
from edgeclf_export.targets import ort_quantizer
from edgeclf_export.targets.quantizer import Quantizer, Recipe
from edgeclf_export.targets.registry import TARGETS
from edgeclf_export.targets.target import Built
from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.backends.tensorrt.library import import_rtx
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.manifest import Thresholds, parse_manifest
from edgeclf_runtime.bundle.proof import Proof
from edgeclf_runtime.bundle.quantization_report import AccuracyGate, GateEvaluation, Ladder, Step
from edgeclf_runtime.classifier import Classifier
from edgeclf_runtime.deploy import build as builds
from edgeclf_runtime.deploy import candidate_selection
from edgeclf_runtime.deploy.candidates import Race, Speed, models_of, race
from edgeclf_runtime.deploy.verify import verify
from edgeclf_runtime.errors import BackendError, GateError, UsageError
from edgeclf_runtime.images.labelled import LabelledImage
from edgeclf_runtime.metrics.energy import EnergyThreshold
from edgeclf_runtime.progress import Progress

Quantize = Callable[..., list[Any]]


@pytest.fixture
def faulty_quantizer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quantizer that cuts every range to a fiftieth."""
    original = ort_quantizer.quantize

    def quantize(model: bytes, ranges: dict[str, tuple[float, float]], **options: Any) -> bytes:
        return original(model, {name: (low / 50, high / 50) for name, (low, high) in ranges.items()}, **options)

    monkeypatch.setattr(ort_quantizer, "quantize", quantize)


def timed(milliseconds: dict[str, float]) -> Callable[[Sequence[Callable[[], object]]], list[list[float]]]:
    """Times as if measured: of int8, 16 bits, fp32 and fp32 again, in the order that a race has."""

    def time(calls: Sequence[Callable[[], object]]) -> list[list[float]]:
        names = ["int8", "fp16", "fp32"][-(len(calls) - 1) :]
        return [[milliseconds[name] for name in names] + [milliseconds["fp32"]]] * 3

    return time


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def clock(**milliseconds: float) -> None:
        monkeypatch.setattr(
            selection, "race", lambda bundles, base, options, _: race(bundles, base, options, timed(milliseconds))
        )

    return clock


@pytest.mark.parametrize("target", ["onnx", "openvino"])
def test_an_int8_bundle_records_its_whole_ladder(target: str, quantize: Quantize) -> None:
    pytest.importorskip({"onnx": "onnxruntime", "openvino": "nncf"}[target])
    (made,) = quantize(target)
    manifest = Bundle.open(made.path).manifest
    assert (manifest.weights_precision, manifest.compute_precision) == ("int8", "int8")
    assert manifest.calibration is not None and manifest.calibration.images == 160
    assert manifest.shares is not None and manifest.shares["int8"] >= 0.8
    ladder = manifest.ladder
    assert ladder is not None and ladder.step(ladder.chosen).holds
    assert [step.became for step in ladder.rungs][-1] == "model" and ladder.why
    for step in ladder.rungs:
        assert step.judged is not None and step.shares is not None and step.model_bytes > 0
        assert "validation images" in step.judged.source and "selected on these images" in step.judged.source
    assert ladder.final is not None and ladder.final.images == TEST * len(LABELS)
    assert ladder.final.source == "use no. 1"
    assert "cpu_features" in ladder.machine
    assert parse_manifest(manifest.to_bytes(), "again") == manifest
    assert verify(Bundle.open(made.path)).verdict == "pass"


def test_the_energy_threshold_is_fitted_again_to_the_int8_model(
    trained: Exportable, patches: dict[str, tuple[LabelledImage, ...]], tmp_path: Path
) -> None:
    thresholds = Thresholds(unknown_below=0.2, energy=EnergyThreshold(-99.0, 0.1, 5))
    known = replace(trained, training=Training("patches", 0.0, "0", thresholds=thresholds))
    options = ExportOptions(("onnx",), "int8", output=tmp_path, int8=Int8Options(gate=AccuracyGate(5.0)))
    (made,) = export(known, options)
    found = Bundle.open(made.path).manifest.thresholds
    assert found.unknown_below == 0.2 and found.energy is not None
    assert (found.energy.false_alarms, found.energy.images) == (0.1, len(patches["val"]))
    with Classifier.open(made.path) as classifier:
        predictions = list(classifier.predict([image.path for image in patches["val"]]))
    alarms = sum(each.unknown_by == "energy" for each in predictions)
    assert alarms == int(0.1 * len(patches["val"]))


def test_a_faulty_quantization_is_never_published_the_layers_responsible_are_named_and_other_targets_are_tried(
    faulty_quantizer: None, trained: Exportable, tmp_path: Path
) -> None:
    pytest.importorskip("nncf")
    int8 = Int8Options(gate=AccuracyGate(5.0))
    options = ExportOptions(("onnx", "openvino"), "int8", output=tmp_path, name="patches", int8=int8)
    made, failure = collect(export_each(trained, options))
    assert [bundle.target for bundle in made] == ["openvino"]
    assert failure is not None and failure.exit_code == 1
    text = str(failure)
    assert re.match(r"1 of 2 targets failed: onnx: none of \d+ steps of the ladder passes the accuracy gate", text)
    assert "layers responsible: node_" in text and text.endswith("; openvino is made")
    (failed,) = failure.failed
    assert failed.target == "onnx" and failed.ladder is not None and len(failed.ladder.rungs) >= 4
    (aside,) = tmp_path.glob("*onnx*")
    assert aside.name == "patches-onnx-int8.failed" and str(aside) in text
    ladder = Bundle.open(aside).manifest.ladder
    assert ladder is not None and not ladder.chosen and {step.became for step in ladder.rungs} == {"failed"}


def test_a_finished_bundle_that_fails_its_proof_shows_its_ladder(
    trained: Exportable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = export_quantized.write_bundle

    def fails(*arguments: Any) -> Any:
        manifest, proof = original(*arguments)
        return manifest, replace(proof, verdict="fail", reasons=("logits are others",))

    monkeypatch.setattr(export_quantized, "write_bundle", fails)
    int8 = Int8Options(gate=AccuracyGate(5.0))
    made, failure = collect(
        export_each(trained, ExportOptions(("onnx",), "int8", output=tmp_path, name="p", int8=int8))
    )
    assert failure is not None and not made
    (failed,) = failure.failed
    assert "logits are others" in failed.reason and failed.ladder is not None
    assert {step.became for step in failed.ladder.rungs} == {"failed"} and not failed.ladder.chosen
    assert failed.ladder.why == f"{failed.ladder.rungs[-1].name} was chosen, and fails its proof"


def test_with_fallback_16_bits_take_its_place_under_their_own_name(faulty_quantizer: None, quantize: Quantize) -> None:
    (made,) = quantize("onnx", fallback=True)
    manifest = Bundle.open(made.path).manifest
    assert made.path.name == "patches-onnx-fp16" and manifest.weights_precision == "fp16"
    assert manifest.ladder is not None and manifest.ladder.blame and manifest.calibration is None
    tried = {step.name: step.became for step in manifest.ladder.rungs}
    assert tried.pop("fp16") == "model" and set(tried.values()) == {"failed"} and len(tried) >= 4


def test_auto_never_keeps_int8_that_is_slower_than_fp32(quantize: Quantize, clock: Callable[..., None]) -> None:
    clock(int8=5.0, fp16=4.1, fp32=4.0)
    (made,) = quantize("onnx", "auto")
    manifest = Bundle.open(made.path).manifest
    assert manifest.weights_precision == "fp32" and manifest.ladder is not None
    assert "nothing that passes the gate is faster" in manifest.ladder.why
    assert sorted(each.weights_precision for each in manifest.candidates) == ["fp16", "int8"]


def test_a_lead_within_the_aa_noise_does_not_count(quantize: Quantize, clock: Callable[..., None]) -> None:
    clock(int8=3.95, fp16=4.0, fp32=4.0)
    (made,) = quantize("onnx", "auto")
    assert Bundle.open(made.path).manifest.weights_precision == "fp32"


def test_auto_keeps_the_fastest_that_passes_and_the_device_chooses_again(
    quantize: Quantize, clock: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock(int8=2.0, fp16=3.0, fp32=4.0)
    (made,) = quantize("onnx", "auto")
    bundle = Bundle.open(made.path)
    assert bundle.manifest.weights_precision == "int8"
    ladder = bundle.manifest.ladder
    assert ladder is not None and ladder.step(ladder.chosen).ratio == pytest.approx(0.5)
    models = models_of(bundle)
    assert set(models) == {ladder.chosen, "fp16", "fp32"}

    def slow_int8(calls: Sequence[Callable[[], object]]) -> list[list[float]]:
        return [[9.0, 3.0, 4.0, 4.0]] * 3

    outcome = builds.build(bundle, time=slow_int8)
    new = outcome.bundle.manifest
    assert outcome.made and outcome.bundle.path.name == "patches-onnx-auto-fp16"
    assert new.weights_precision == "fp16" and new.derived_from == bundle.digest and new.candidates == ()
    assert new.ladder is not None and new.ladder.chosen == "fp16" and "device" in new.ladder.why
    assert [step.name for step in new.ladder.rungs if step.became == "model"] == ["fp16"]
    assert ladder.final is not None and new.ladder.final is None  # the test images were used for another model
    assert outcome.proof.verdict == "pass"

    stays = builds.build(bundle, time=lambda calls: [[2.0, 3.0, 4.0, 4.0]] * 3)
    assert not stays.made and stays.bundle is bundle

    def verify_without_fp16(model: Bundle, options: SessionOptions) -> Proof:
        if model.manifest.weights_precision == "fp16":
            raise BackendError("this CPU has no fp16")
        return verify(model, options)

    monkeypatch.setattr(candidate_selection, "verify", verify_without_fp16)
    with_one_less = builds.build(bundle, time=lambda calls: [[2.0, 4.0, 4.0]] * 3)
    assert with_one_less.bundle is bundle
    assert "fp16 does not run here and is left out: this CPU has no fp16" in with_one_less.remarks


@pytest.mark.parametrize("fp32_holds", [True, False])
def test_an_inconclusive_step_wins_by_speed_only_where_fp32_is_inconclusive_too(fp32_holds: bool) -> None:
    def trial(name: str, holds: bool) -> selection.Trial:
        evaluation = SimpleNamespace(verdict="pass" if holds else "inconclusive")
        step = SimpleNamespace(name=name, problem=None, judged=evaluation, holds=holds)
        return selection.Trial(step, Path(), None)  # type: ignore[arg-type]

    tried = [trial("int8", holds=False), trial("bf16", holds=False), trial("fp32", holds=fp32_holds)]
    racing = [each.step.name for each in selection._racing(tried, fp32=tried[-1])]
    assert racing == (["fp32"] if fp32_holds else ["int8", "bf16", "fp32"])


def test_a_folder_proves_int8_on_the_half_kept_for_evaluation(trained: Exportable, tmp_path: Path) -> None:
    without_data = replace(trained, data=None, proof_files=())
    folder = trained.proof_files[0].parents[2]
    options = ExportOptions(("onnx",), "int8", output=tmp_path, int8=Int8Options(calib_data=folder / "train"))
    (made,) = export(without_data, options)
    assert made.proof.images_source.startswith("train, the half kept for evaluation: ")
    evaluation = made.ladder.step(made.ladder.chosen).judged  # type: ignore[union-attr]
    assert evaluation is not None and evaluation.images >= made.proof.comparison.images


def test_int8_of_a_bundle_is_evaluated_against_the_bundle_and_proven_against_pytorch(
    trained: Exportable, tmp_path: Path
) -> None:
    (fp32,) = export(replace(trained, data=None), ExportOptions(("onnx",), output=tmp_path, name="patches"))
    folder = trained.proof_files[0].parents[2]
    int8 = Int8Options(calib_data=folder / "val", gate=AccuracyGate(5.0))
    (made,) = export(fp32.path, ExportOptions(("onnx",), "int8", output=tmp_path, int8=int8))
    parent, manifest = Bundle.open(fp32.path), Bundle.open(made.path).manifest
    assert manifest.derived_from == parent.digest and manifest.reference == parent.manifest.reference
    assert made.proof.images_source.startswith("golden images of patches-onnx-fp32")
    evaluation = manifest.ladder.step(manifest.ladder.chosen).judged  # type: ignore[union-attr]
    assert evaluation is not None and evaluation.labelled and evaluation.images == 120


def test_an_encoder_is_refused_before_its_reference_is_run(trained: Exportable, tmp_path: Path) -> None:
    def run(pixels: Any) -> Any:
        raise AssertionError("run")

    encoder = replace(trained, labels=(), embedding_width=4, run_reference=run)
    with pytest.raises(UsageError, match="an encoder has no classes"):
        list(export(encoder, ExportOptions(("onnx",), "int8", output=tmp_path)))


def test_too_few_images_are_inconclusive_with_a_warning(trained: Exportable, quantize: Quantize) -> None:
    (made,) = quantize("onnx", points=0.5)
    ladder = made.ladder
    evaluation = ladder.step(ladder.chosen).judged
    assert evaluation.verdict == "inconclusive" and evaluation.images_needed > evaluation.images
    assert [step.became for step in ladder.rungs] == [*["failed"] * (len(ladder.rungs) - 1), "model"]


@pytest.mark.parametrize(
    ("holds", "images", "steps", "reason"),
    [
        (True, 270, 7, "the first step that passes the accuracy gate"),
        (False, 120, 7, "nearest to the accuracy gate; 120 evaluation images are too few for any step to pass it"),
        (
            False,
            270,  # can prove 0.99 points
            7,
            "nearest to the accuracy gate; none of 7 int8 steps passes it, and 270 evaluation images leave open "
            "whether this one is within it",
        ),
        (
            False,
            270,
            1,
            "nearest to the accuracy gate; it does not pass it, and 270 evaluation images leave open whether this one "
            "is within it",
        ),
    ],
)
def test_images_are_called_too_few_for_any_step_only_where_they_are(
    holds: bool, images: int, steps: int, reason: str
) -> None:
    step = SimpleNamespace(holds=holds, judged=SimpleNamespace(images=images, value_reference=0.9))
    trials, kept = SimpleNamespace(gate=AccuracyGate(1.0)), SimpleNamespace(step=step, has_to_pass=False)
    assert selection._why_kept(trials, kept, [kept] * steps) == reason  # type: ignore[arg-type,list-item]


@pytest.mark.parametrize(
    ("verdict", "found"),
    [("pass", "passed the accuracy gate"), ("inconclusive", "neither passed nor failed the accuracy gate")],
)
def test_a_step_that_fails_on_test_images_is_told_with_what_validation_images_said(verdict: Any, found: str) -> None:
    shares = (0.9, 0.9, 1, 1, 0.0, -2.0, 1.0, 0.01, 0.1, 0.05, 0.05, 1.0)
    on = {
        name: GateEvaluation(90, f"{name} images", True, *shares, each, ("top-1 fell",), None)
        for name, each in (("validation", verdict), ("test", "fail"))
    }
    steps = tuple(Step(name, "int8", "", (), None, 1, on["validation"], became="model") for name in ("one", "two"))
    tried = Ladder(AccuracyGate(), steps, "two", "why", (), (), None, {})
    chosen = selection.Chosen(SimpleNamespace(step=steps[1]), (), tried, None)  # type: ignore[arg-type]
    trials = SimpleNamespace(target=SimpleNamespace(name="onnx"))
    error = selection._broken_on_test(trials, chosen, on["test"])  # type: ignore[arg-type]
    assert str(error).startswith(f"onnx two {found} on validation images, but on test images top-1 fell")
    assert error.ladder.why == f"two {found} on validation images, and fails it on test images"
    assert [step.became for step in error.ladder.rungs] == ["model", "failed"] and not error.ladder.chosen


def test_learned_weights_that_are_not_taken_are_reported() -> None:
    step = SimpleNamespace(holds=False, judged=SimpleNamespace(images=270, value_reference=0.9))
    tried = [SimpleNamespace(step=step, has_to_pass=learned) for learned in (False, True)]
    why = selection._why_kept(SimpleNamespace(gate=AccuracyGate(1.0)), tried[0], tried)  # type: ignore[arg-type]
    assert why.endswith("within it; learned weights are taken only where they pass it")


def test_a_network_of_sigmoid_scores_is_refused_since_it_has_no_top1(trained: Exportable, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no top-1"):
        list(export(replace(trained, scores="sigmoid"), ExportOptions(("onnx",), "int8", output=tmp_path)))


def test_a_gate_that_fails_on_test_images_fails_the_export(
    trained: Exportable, quantize: Quantize, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = selection.evaluate_step

    def evaluate(evaluation_set: Any, logits: Any, gate: AccuracyGate, temperature: float | None = None) -> Any:
        return original(evaluation_set, np.roll(logits, 1, axis=1) if temperature else logits, gate, temperature)

    monkeypatch.setattr(selection, "evaluate_step", evaluate)
    with pytest.raises(GateError, match="on test images"):
        quantize("onnx")


def test_for_tensorrt_it_is_portable_linted_and_auto_leaves_the_choice_to_the_device(quantize: Quantize) -> None:
    if import_rtx() is None:
        pytest.skip("TensorRT-RTX is not installed")
    (made,) = quantize("tensorrt", "auto")
    manifest = Bundle.open(made.path).manifest
    assert (manifest.state, manifest.weights_precision) == ("portable", "int8")
    assert any("linted" in check for check in manifest.checks)
    assert any("built by TensorRT-RTX" in check for check in manifest.checks)
    assert [each.weights_precision for each in manifest.candidates] == ["fp16", "fp32"]
    assert manifest.ladder is not None and "on the device" in manifest.ladder.why


def recipes_of(methods: tuple[str, ...], tried: list[Any], **options: bool) -> Iterator[Recipe]:
    """The recipes of a quantizer that leaves no layer in float, and whose models the test makes up."""

    def write(*_: Any) -> Any:
        pytest.fail("recipes alone write nothing")

    quantizer = Quantizer(methods=methods, lower=(), write=write, leaves_layers=False, **options)
    return ladder._recipes(SimpleNamespace(quantizer=quantizer), SimpleNamespace(), tried)  # type: ignore[arg-type]


def test_only_steps_that_the_quantizer_has_are_tried() -> None:
    assert list(recipes_of(("min-max",), [], corrects_biases=False)) == [Recipe("min-max")]


@pytest.mark.parametrize(
    ("bounds", "uncorrected"),
    [
        ((-3.0, -2.0, -5.0), ["percentile"]),  # correction helps the better ranges: the others need no trial without it
        ((-9.0, -8.0, -2.0, -1.0), ["percentile", "min-max"]),
    ],
)
def test_where_corrected_biases_harm_all_ranges_are_tried_without_them(
    bounds: Sequence[float], uncorrected: list[str]
) -> None:
    corrected = [Recipe("min-max", corrected=True), Recipe("percentile", corrected=True)]
    assert all_recipes(bounds) == [*corrected, *map(Recipe, uncorrected)]


@pytest.mark.parametrize(
    ("bounds", "later"),
    [
        ((-5.0, -3.0, -2.0, -4.0), ["percentile"]),
        ((-5.0, -3.0, -4.0), []),  # min-max is best, and was tried without correction
        ((-1.0, -9.0, -8.0, -2.0), ["percentile"]),
    ],
)
def test_where_correction_is_slow_one_step_without_it_comes_first(bounds: Sequence[float], later: list[str]) -> None:
    corrected = [Recipe("min-max", corrected=True), Recipe("percentile", corrected=True)]
    assert all_recipes(bounds, corrects_first=False) == [Recipe("min-max"), *corrected, *map(Recipe, later)]


def all_recipes(bounds: Sequence[float], **options: bool) -> list[Recipe]:
    """Those that are tried where the lower bounds of top-1 come out so, one after the other."""
    tried: list[Any] = []
    left, found = iter(bounds), []
    for recipe in recipes_of(("min-max", "percentile"), tried, **options):
        found.append(recipe)
        judged = SimpleNamespace(bound_points=next(left), mean_kl=0.1)
        tried.append(SimpleNamespace(step=SimpleNamespace(name=recipe.name, judged=judged)))
    return found


@pytest.mark.parametrize(
    ("nodes", "lower", "tried"),
    [
        (("MatMul", "Softmax", "MatMul"), "bf16", ["int8 min-max + bias + bf16"]),
        (("Conv", "Relu", "Conv"), "bf16", []),  # hardly anything is left in float
        (("MatMul", "Softmax", "MatMul"), "fp32", []),  # the machine has no bf16
    ],
)
def test_for_transformers_auto_tries_int8_with_the_rest_in_bf16(
    nodes: Sequence[str], lower: str, tried: list[str], tmp_path: Path
) -> None:
    from onnx import helper

    graph = helper.make_graph(
        [helper.make_node(kind, [str(n)], [str(n + 1)]) for n, kind in enumerate(nodes)], "g", [], []
    )
    made: dict[str, tuple[Path, ...]] = {}

    def attempt(name: str, did: str, write: Callable[[Path], Any], leave: tuple[str, ...]) -> str:
        assert write(tmp_path / "new") == Built("int8", "bf16") and did.endswith("the rest computed in 16 bits")
        made[name] = tuple(sorted(path.name for path in (tmp_path / "new").iterdir()))
        return name

    trials = SimpleNamespace(
        quantizer=TARGETS["openvino"].quantizer,
        target=TARGETS["openvino"],
        export_graph=SimpleNamespace(onnx=helper.make_model(graph).SerializeToString()),
        attempt=attempt,
    )
    step = SimpleNamespace(name="int8 min-max + bias", did="ranges, biases corrected", float_layers=("a",))
    (tmp_path / "kept").mkdir()
    for name in ("model.xml", "model.bin", "manifest.json"):
        (tmp_path / "kept" / name).touch()
    kept = SimpleNamespace(step=step, folder=tmp_path / "kept", manifest=SimpleNamespace())
    others = [SimpleNamespace(manifest=SimpleNamespace(compute_precision=lower)), SimpleNamespace(manifest=None)]
    assert ladder.rest_in_bf16(trials, kept, others, Progress()) == tried  # type: ignore[arg-type]
    assert made == {name: ("model.bin", "model.xml") for name in tried}
    assert ladder.rest_in_bf16(trials, None, others, Progress()) == []  # type: ignore[arg-type]


@pytest.mark.parametrize(("ratio", "chosen"), [(0.55, "int8 + bf16"), (0.59, "int8")])
def test_int8_with_its_rest_in_bf16_wins_only_by_more_than_the_noise(ratio: float, chosen: str) -> None:
    speeds = {"int8": Speed(6.0, 0.6), "int8 + bf16": Speed(10 * ratio, ratio), "fp32": Speed(10.0, 1.0)}
    timed = Race(speeds, "fp32", noise=0.03)
    assert selection._portable(timed.fastest(), timed) == chosen
