"""What OpenVINO's target makes of an ONNX graph before it is quantized or written."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import load_from_string
from patches import LABELS, PATCH_PIXELS, SIDE

from edgeclf_export.sources.modules import exportable_from_module
from edgeclf_export.targets import ov_quantizer
from edgeclf_export.targets.ov_graph import read
from edgeclf_runtime.backends.ov import openvino_core
from edgeclf_runtime.bundle.manifest import Normalization, Reference

Kinds = list[str]


def small_graph(form: str = "uint8-nhwc") -> bytes:
    """A network with two kinds of activation, each twice."""
    import torch

    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, 2, 1), torch.nn.SiLU(), torch.nn.Conv2d(8, 8, 1), torch.nn.SiLU(),
        torch.nn.Conv2d(8, 8, 1), torch.nn.Hardswish(), torch.nn.Conv2d(8, 8, 1), torch.nn.Hardswish(),
        torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(8, len(LABELS)),
    )  # fmt: skip
    exportable = exportable_from_module(
        module.eval(),
        labels=LABELS,
        pixels=PATCH_PIXELS,
        normalization=Normalization((0.5, 0.4, 0.3), (0.5, 0.25, 0.2)),
        backbone="small",
        weights="module",
        reference=Reference("pytorch", "small"),
        proof_files=(),
    )
    return exportable.make_onnx(form, 18)


def kinds(network: object) -> Kinds:
    return [node.get_type_name() for node in network.get_ordered_ops()]  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def images() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (8, SIDE, SIDE, 3)).astype(np.uint8)


def test_an_activation_is_one_operation_when_it_is_quantized(images: NDArray[np.uint8]) -> None:
    pytest.importorskip("nncf")
    quantized = ov_quantizer.quantize(small_graph(), images, "min-max", corrected=False)
    for operation in ("Swish", "HSwish"):
        assert kinds(quantized).count(operation) == 2
    for node in quantized.get_ops():
        if node.get_type_name() in ("Swish", "HSwish"):
            assert node.input_value(0).get_node().get_type_name() != "FakeQuantize"


def test_pixels_are_transposed_last_and_the_logits_stay_the_same(images: NDArray[np.uint8]) -> None:
    export_graph = small_graph()
    core = openvino_core()
    network = read(export_graph)
    steps = [kind for kind in kinds(network) if kind != "Constant"]
    assert steps[1:5] == ["Convert", "Multiply", "Add", "Transpose"]
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    before, after = (
        core.compile_model(each, "CPU", settings)({0: images})[0]
        for each in (core.read_model(model=export_graph), network)
    )
    assert np.abs(before - after).max() <= 1e-5 * np.ptp(before)


def test_a_graph_with_nchw_float_input_keeps_its_order() -> None:
    export_graph = small_graph("float-nchw")
    assert "Transpose" not in {node.op_type for node in load_from_string(export_graph).graph.node}
    assert "Transpose" not in kinds(read(export_graph))
