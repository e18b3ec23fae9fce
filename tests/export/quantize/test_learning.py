"""Learning through Q/DQ: torch computes what ONNX Runtime does, and what is learned is kept only if it passes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from patches import PATCH_PIXELS

from edgeclf_export.exportable import Exportable
from edgeclf_export.exporter import export
from edgeclf_export.options import ExportOptions
from edgeclf_export.quantize import ladder, trial
from edgeclf_export.quantize.activation_ranges import observe, run_logits
from edgeclf_export.quantize.calibration import choose
from edgeclf_export.quantize.calibration_data import Int8Options
from edgeclf_export.quantize.export_quantized import _learning
from edgeclf_export.quantize.learning import learned_network
from edgeclf_export.quantize.learning.learn import Lesson, Session, _step, learn
from edgeclf_export.quantize.learning.operators import NoTorchForm, operators
from edgeclf_export.quantize.learning.state import LearningState
from edgeclf_export.quantize.learning.torch_graph import TorchGraph
from edgeclf_export.targets import ort_quantizer
from edgeclf_runtime.backends.ort import import_onnxruntime
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.quantization_report import AccuracyGate
from edgeclf_runtime.errors import BackendError, DataError, GateError, UsageError
from edgeclf_runtime.images.labelled import LabelledImage
from edgeclf_runtime.progress import SILENT, Progress

Quantize = Callable[..., list[Any]]
DISTANCE = learned_network.Learning._distance
X = np.random.default_rng(0).normal(size=(2, 4, 6, 6)).astype(np.float32)
CASES: dict[str, tuple[dict[str, Any], tuple[Any, ...]]] = {  # operator -> attributes, and constants after X
    "Clip": ({}, (np.float32(-0.3), np.float32(0.4))),
    "HardSigmoid": ({"alpha": 1 / 6, "beta": 0.5}, ()),
    "HardSwish": ({}, ()),
    "Softmax": ({"axis": 1}, ()),
    "LayerNormalization": ({"axis": -1}, (np.full(6, 1.5, np.float32), np.full(6, 0.1, np.float32))),
    "BatchNormalization": ({}, tuple(np.arange(1, 5, dtype=np.float32) / 4 for _ in range(4))),
    "Conv": ({"pads": [1, 0, 0, 1], "strides": [2, 1], "group": 2}, (X[:2, :2, :3, :3].repeat(2, 0), X[0, :, 0, 0])),
    "AveragePool": ({"kernel_shape": [2, 2], "strides": [2, 2]}, ()),
    "MaxPool": ({"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}, ()),
    "GlobalAveragePool": ({}, ()),
    "ReduceMean": ({"keepdims": 0}, (np.array([2, -1]),)),
    "Transpose": ({"perm": [0, 2, 3, 1]}, ()),
    "Reshape": ({}, (np.array([0, -1, 3]),)),
    "Flatten": ({"axis": 2}, ()),
    "Unsqueeze": ({}, (np.array([0, 5]),)),
    "Slice": ({}, (np.array([1, -3]), np.array([2**62, -1]), np.array([1, 3]), np.array([2, 1]))),
    "Gather": ({"axis": 1}, (np.array([[3, -1], [0, 1]]),)),
    "Pad": ({}, (np.array([0, 0, 1, 0, 0, 0, 0, 2]), np.float32(0.5))),
    "Expand": ({}, (np.array([3, 1, 1, 1, 1]),)),
    "Gelu": ({"approximate": "tanh"}, ()),
}


@pytest.mark.parametrize("operator", CASES)
def test_an_operator_computes_what_onnx_runtime_does(operator: str) -> None:
    attributes, constants = CASES[operator]
    names = [f"c{place}" for place in range(len(constants))]
    node = helper.make_node(operator, ["x", *names], ["y"], **attributes)
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, X.shape)],
        [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in zip(names, constants, strict=True)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    (wanted,) = import_onnxruntime().InferenceSession(model.SerializeToString()).run(None, {"x": X})
    read = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    found = operators()[operator]([torch.from_numpy(X), *(torch.as_tensor(each) for each in constants)], read)
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-5)


@pytest.fixture(scope="module")
def float_graph(trained: Exportable) -> bytes:
    return trained.make_onnx("uint8-nhwc", 18)


@pytest.fixture(scope="module")
def images(patches: dict[str, tuple[LabelledImage, ...]]) -> NDArray[np.uint8]:
    return np.stack([PATCH_PIXELS.load(image.path)[0] for image in patches["train"][::4]])


@pytest.fixture(scope="module")
def quantized(float_graph: bytes, images: NDArray[np.uint8]) -> bytes:
    return ort_quantizer.quantize(float_graph, observe(float_graph, images).ranges("min-max"))


def a_clock(*seconds: float | type[BaseException]) -> Callable[[], float]:
    """Tells these times, one after the other, or is interrupted."""
    times: Iterator[Any] = iter(seconds)

    def clock() -> float:
        now = next(times)
        if isinstance(now, type):
            raise now
        return float(now)

    return clock


def test_the_torch_module_rounds_as_onnx_runtime_does_and_all_its_weights_learn(
    float_graph: bytes, quantized: bytes, images: NDArray[np.uint8]
) -> None:
    student = TorchGraph(quantized, float_graph)
    logits = student(torch.from_numpy(images))
    wanted = run_logits(quantized, images)
    assert np.abs(logits.detach().numpy() - wanted).max() < 0.02 * np.ptp(wanted)
    logits.sum().backward()  # type: ignore[no-untyped-call]
    assert len(student.parameters) == 12  # five convolutions and a product, with biases
    assert all(each.grad is not None and each.grad.abs().max() > 0 for each in student.parameters.values())


def test_an_operator_without_a_torch_form_is_named(float_graph: bytes, quantized: bytes) -> None:
    model = onnx.load_from_string(quantized)
    model.graph.node.append(helper.make_node("Celu", [model.graph.output[0].name], ["more"]))
    with pytest.raises(NoTorchForm, match="Celu"):
        TorchGraph(model.SerializeToString(), float_graph)


def test_a_torch_module_that_computes_other_logits_does_not_learn(
    float_graph: bytes, quantized: bytes, images: NDArray[np.uint8]
) -> None:
    student = learned_network._student(quantized, float_graph, images)
    assert len(student.parameters) == 12
    other = onnx.load_from_string(float_graph)
    for constant in other.graph.initializer:
        if constant.data_type == onnx.TensorProto.FLOAT:
            constant.CopyFrom(numpy_helper.from_array(2 * numpy_helper.to_array(constant), constant.name))
    with pytest.raises(BackendError, match="torch computes other logits than the engine"):
        learned_network._student(quantized, other.SerializeToString(), images)


@pytest.mark.parametrize("by_layers", [False, True])
def test_learning_brings_rounded_predictions_closer_to_the_teachers(
    by_layers: bool, float_graph: bytes, quantized: bytes, images: NDArray[np.uint8], tmp_path: Path
) -> None:
    student = TorchGraph(quantized, float_graph)
    assert len(student.taught) == 10
    layers = learned_network._layers(float_graph, student.taught) if by_layers else None
    lesson = Lesson(images, run_logits(float_graph, images), layers=layers)
    batch = torch.from_numpy(images)
    noise, floats = np.random.default_rng(0), student.weights()
    student.load({name: value + student.unit(name) * noise.normal(size=value.shape) for name, value in floats.items()})
    before = np.abs(student(batch).detach().numpy() - lesson.teacher).mean()
    clock = a_clock(*range(60))
    state = learn(student, lesson, Session(0.9, 0, tmp_path / "kept.npz", "key", clock=clock), SILENT)
    after = np.abs(student(batch).detach().numpy() - lesson.teacher).mean()
    assert after < 0.8 * before, (before, after)
    assert state.steps == 54


def test_what_a_step_keeps_in_memory_is_not_underestimated(
    float_graph: bytes, quantized: bytes, images: NDArray[np.uint8]
) -> None:
    student, kept = TorchGraph(quantized, float_graph), dict[int, int]()

    def count(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    optimizer = torch.optim.Adam(student.parameters.values())
    layers = learned_network._layers(float_graph, student.taught)
    lesson = Lesson(images[:8], run_logits(float_graph, images[:8]), layers=layers)
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        _step(student, optimizer, lesson, np.arange(8))
    one = student.bytes_per_image(torch.from_numpy(images[:1]))
    assert 0.15 < sum(kept.values()) / (8 * one) < 1  # gradients, and what teaches, come on top


def test_the_unit_of_a_parameter_follows_its_grid(float_graph: bytes, quantized: bytes) -> None:
    student = TorchGraph(quantized, float_graph)
    before = {name: student.unit(name) for name in student.parameters}
    student.load({name: 3 * value for name, value in student.weights().items()})
    assert len(before) == 12 and min(before.values()) > 0
    for name, unit in before.items():
        assert student.unit(name) == pytest.approx(3 * unit, rel=1e-4)


def test_interrupted_and_resumed_learning_ends_where_an_uninterrupted_one_does(
    float_graph: bytes, quantized: bytes, images: NDArray[np.uint8], tmp_path: Path
) -> None:
    lesson, file = Lesson(images, run_logits(float_graph, images)), tmp_path / "kept.npz"

    def run(clock: Callable[[], float], *, resume: bool = False, key: str = "key") -> Any:
        student = TorchGraph(quantized, float_graph)
        return learn(student, lesson, Session(0.1, 0, file, key, resume=resume, clock=clock), SILENT)

    whole = run(a_clock(0, 1, 2, 3, 4, 5, 6))
    taken_up = run(a_clock(20), resume=True)  # as after an interruption when learning was over
    assert taken_up.steps == 6 and all((taken_up.weights[name] == whole.weights[name]).all() for name in whole.weights)
    file.unlink()
    with pytest.raises(KeyboardInterrupt):
        run(a_clock(0, 1, 2, KeyboardInterrupt, 3))
    assert file.exists()
    with pytest.raises(UsageError, match="was learned by another network"):
        run(a_clock(0), resume=True, key="other")
    resumed = run(a_clock(10, 11, 12, 13), resume=True)
    assert resumed.steps == whole.steps == 6
    for name, value in whole.weights.items():
        np.testing.assert_allclose(resumed.weights[name], value, atol=1e-6)
    file.write_bytes(b"damaged")
    with pytest.raises(DataError, match="is damaged"):
        run(a_clock(0), resume=True)


@pytest.fixture
def only_learning(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A ladder without its other steps, where learning always helps; the list counts how often weights learned."""
    counted: list[int] = []
    original = learned_network.learn

    def counting(*arguments: Any) -> Any:
        counted.append(1)
        return original(*arguments)

    monkeypatch.setattr(learned_network, "learn", counting)
    monkeypatch.setattr(ladder, "_recipes", lambda *_: iter(()))
    monkeypatch.setattr(learned_network.Learning, "_distance", lambda self, graph: graph == self._learned.start)
    return counted


def test_what_is_learned_once_is_quantized_for_every_target(
    only_learning: list[int], trained: Exportable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("nncf")
    monkeypatch.setattr(learned_network, "_STEP_BYTES", 0)  # one image a step, however little memory there is
    int8, lines = Int8Options(gate=AccuracyGate(5.0), learn_minutes=0.02), Lines()
    options = ExportOptions(("onnx", "openvino"), "int8", output=tmp_path, name="patches", int8=int8)
    made = export(trained, options, lines)
    assert any(" steps of batch size 1 in 0.0 min" in note for note in lines.notes)
    for bundle in made:
        manifest = Bundle.open(bundle.path).manifest
        assert manifest.ladder is not None and manifest.ladder.chosen == "int8 min-max + learned"
        assert manifest.calibration is not None and "learned through Q/DQ for 0.02 min" in manifest.calibration.method
    assert len(made) == 2 and only_learning == [1] and not list(tmp_path.glob("*.learning.npz"))


def every_verdict(monkeypatch: pytest.MonkeyPatch, verdict: str) -> None:
    """Gives every step this verdict."""
    original = trial.evaluate_step
    monkeypatch.setattr(trial, "evaluate_step", lambda *arguments: replace(original(*arguments), verdict=verdict))


class Lines(Progress):
    """Keeps notes and warnings."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.warnings: list[str] = []

    def note(self, sentence: str, figures: Mapping[str, Any] | None = None) -> None:
        self.notes.append(sentence)

    def warn(self, sentence: str) -> None:
        self.warnings.append(sentence)


def test_what_was_learned_is_kept_until_there_is_a_bundle(
    only_learning: list[int], trained: Exportable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = Lines()

    def run(*, resume: bool) -> None:
        int8 = Int8Options(gate=AccuracyGate(5.0), learn_minutes=0.02, resume=resume)
        export(trained, ExportOptions(("onnx",), "int8", output=tmp_path, name="patches", int8=int8), lines)

    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    file = tmp_path / "patches-onnx-int8.learning.npz"
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(learned_network.Learning, "_distance", interrupted)
        run(resume=False)
    with np.load(file) as kept:
        learned = f"learned {int(kept['steps']):,} steps of"
    with monkeypatch.context() as patched, pytest.raises(GateError, match="none of 1 steps of the ladder passes"):
        every_verdict(patched, "fail")
        run(resume=True)
    assert len([line for line in lines.warnings if f"kept in {file}: the same command with --resume" in line]) == 2
    run(resume=True)
    assert len([line for line in lines.notes if line.startswith(learned)]) == 3  # no step more when it was resumed
    assert not file.exists() and len(lines.warnings) == 2


def test_an_interruption_after_learning_says_where_it_goes_on(tmp_path: Path) -> None:
    lines, file = Lines(), tmp_path / "kept.npz"
    options = learned_network.LearningOptions(1.0, (), 0, file, resume=False)
    learning = learned_network.Learning(None, options, lines)  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt), learning.keeping_what_is_learned():
        raise KeyboardInterrupt
    assert not lines.warnings  # nothing was learned
    vars(learning)["_learned"] = ()
    file.touch()
    with pytest.raises(KeyboardInterrupt), learning.keeping_what_is_learned():
        raise KeyboardInterrupt
    assert file.exists() and f"kept in {file}: the same command with --resume" in lines.warnings[0]
    with learning.keeping_what_is_learned():
        pass
    assert not file.exists()


@pytest.mark.parametrize("there", [True, False])
def test_resume_without_anything_to_go_on_with_says_so(there: bool, tmp_path: Path) -> None:
    lines, place = Lines(), tmp_path / "patches-onnx-int8"
    if there:
        place.with_name("patches-onnx-int8.learning.npz").touch()
    options = Int8Options(learn_minutes=1.0, resume=True)
    _learning(None, SimpleNamespace(learning=(1,)), options, place, lines)  # type: ignore[arg-type]
    assert [note for note in lines.notes if "there is no" in note and "they start anew" in note] == lines.notes
    assert bool(lines.notes) != there


def test_images_that_calibrated_show_last_whether_learning_helped(tmp_path: Path) -> None:
    images = tuple(LabelledImage(tmp_path, f"{n}.png", (str(n % 3),), sha256=f"{n:064x}") for n in range(60))
    calibrated = choose(images, 30, 0)
    calibration = SimpleNamespace(pixels=np.zeros((1, 8, 8, 3), np.uint8), hashes={each.sha256 for each in calibrated})
    teacher: Any = SimpleNamespace(calibration=calibration)

    def learns_from(given: tuple[LabelledImage, ...]) -> tuple[LabelledImage, ...]:
        options = learned_network.LearningOptions(1.0, given, 0, tmp_path / "kept.npz", resume=False)
        return learned_network.Learning(teacher, options, Lines())._images()

    found = learns_from(images)
    assert len(found) == 60
    assert {image.sha256 for image in found[:12]}.isdisjoint(calibration.hashes)
    assert {image.labels for image in found[:12]} == {("0",), ("1",), ("2",)}
    with pytest.raises(BackendError, match="fewer than 5 images, found 4"):
        learns_from(images[:4])


def test_what_is_learned_is_not_kept_where_the_images_leave_it_open(
    only_learning: list[int], quantize: Quantize, monkeypatch: pytest.MonkeyPatch
) -> None:
    every_verdict(monkeypatch, "inconclusive")
    with pytest.raises(GateError, match="none of 1 steps of the ladder passes the accuracy gate of 5 points"):
        quantize("onnx", learn_minutes=0.01)
    assert only_learning == [1]


def test_learning_that_made_it_worse_is_no_step_that_passes(
    only_learning: list[int], quantize: Quantize, monkeypatch: pytest.MonkeyPatch
) -> None:
    def worse(student: TorchGraph, *_: Any) -> LearningState:
        weights = {name: value + value.std() for name, value in student.weights().items()}
        return LearningState(weights, ({}, {}), 1, 0.6)

    monkeypatch.setattr(learned_network, "learn", worse)
    monkeypatch.setattr(learned_network.Learning, "_distance", DISTANCE)
    with pytest.raises(GateError, match=r"learning did not help: .* nats on 32 images it did not see"):
        quantize("onnx", learn_minutes=0.01)


def test_nothing_is_learned_where_so_few_images_could_not_show_that_it_passes(
    quantize: Quantize, monkeypatch: pytest.MonkeyPatch
) -> None:
    every_verdict(monkeypatch, "fail")
    monkeypatch.setattr(learned_network, "learn", lambda *_: pytest.fail("learned"))
    with pytest.raises(GateError, match=r"passes the accuracy gate of 0\.5 points.*Give --fallback for 16 bits"):
        quantize("onnx", points=0.5, learn_minutes=10)


def test_without_need_nothing_is_learned(quantize: Quantize, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learned_network, "learn", lambda *_: pytest.fail("learned"))
    (made,) = quantize("onnx", learn_minutes=10)
    assert made.ladder.chosen == "int8 min-max + bias"
