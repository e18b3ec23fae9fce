"""LiteRT's int8: whole for the delegate, the layers in float that the ladder asks for, evaluated like the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tiny
import tiny_litert
from litert_networks import converts, small_network
from patches import LABELS, PATCH_PIXELS

from edgeclf_export.graph.layers import layers
from edgeclf_export.sources.modules import exportable_from_module
from edgeclf_export.targets import litert_quantizer
from edgeclf_export.targets.target import ExportGraph
from edgeclf_runtime.backends.audit import audit
from edgeclf_runtime.backends.litert import open_interpreter
from edgeclf_runtime.backends.litert_graph import pieces, products
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.manifest import Normalization, Reference
from edgeclf_runtime.deploy.verify import verify
from edgeclf_runtime.session import open_session

pytest.importorskip("ai_edge_litert")
HALF = Normalization((0.5, 0.4, 0.3), (0.5, 0.25, 0.2))


def test_ranges_are_those_of_every_image_and_percentiles_lie_within() -> None:
    images = tiny.random_pixels(5)
    images[3, 0, 0, 0], images[:, 0, 0, 1] = 255, 0
    model = tiny_litert.linear(*tiny.linear_weights(0))
    whole, inner = (litert_quantizer._ranges(model, images, method) for method in litert_quantizer.METHODS)
    assert set(whole) == set(inner) == {"floats", "scaled", "rows", "logits"}
    assert (whole["floats"]["min"].item(), whole["floats"]["max"].item()) == (images.min(), images.max())
    logits = tiny.reference_logits("litert", images)
    assert whole["logits"]["max"].item() == pytest.approx(logits.max(), rel=1e-4)
    for name, ends in inner.items():
        assert whole[name]["min"] <= ends["min"] and ends["max"] <= whole[name]["max"]


def test_a_range_has_the_rank_of_its_tensor() -> None:
    """Or the quantizer refuses networks that join a tensor and a constant, as ViTs do with their class token."""
    ranges = litert_quantizer._ranges(tiny_litert.linear(*tiny.linear_weights(0)), tiny.random_pixels(1), "min-max")
    found = {name: (ends["min"].ndim, ends["max"].ndim) for name, ends in ranges.items()}
    assert found == {"floats": (4, 4), "scaled": (4, 4), "rows": (2, 2), "logits": (2, 2)}


@pytest.mark.parametrize("method", litert_quantizer.METHODS)
def test_the_minus_infinity_that_pads_a_pooling_widens_no_range(method: str) -> None:
    padded = np.array([-np.inf, 1, 2, -np.inf], np.float32)
    assert litert_quantizer._ends(padded, method) == pytest.approx([1, 2], abs=1e-3)
    assert np.array_equal(litert_quantizer._ends(padded[:1], method), [0, 0])


@converts
@pytest.mark.parametrize("precision", ["int8", "auto"])
def test_a_run_becomes_int8_in_as_few_pieces_as_in_fp32(precision: str, quantize: Callable[..., list[Any]]) -> None:
    (made,) = quantize("litert", precision)
    bundle = Bundle.open(made.path)
    assert verify(bundle).verdict == "pass"
    tried = {step.name: step for step in made.ladder.rungs}
    assert tried["int8 min-max"].shares == {"int8": 1.0} and tried["int8 min-max"].problem is None
    if precision == "int8":
        with open_session(bundle) as session:
            assert session.compute_precision == "int8"
            assert session.facts["delegate"] == "XNNPACK, in 1 of 2 steps, beside it CAST"


@converts
def test_hard_swish_stays_in_float_and_the_graph_in_one_piece() -> None:
    import onnx
    import torch

    exportable = exportable_from_module(
        small_network(torch.nn.Hardswish), labels=LABELS, pixels=PATCH_PIXELS, normalization=HALF,
        backbone="small", weights="module", reference=Reference("pytorch", "small"),
    )  # fmt: skip
    graph = ExportGraph(exportable, "uint8-nhwc", 18)
    found = layers(onnx.load_from_string(graph.onnx))
    images = np.random.default_rng(0).integers(0, 256, (4, *PATCH_PIXELS.crop_px, 3), dtype=np.uint8)
    network: Any = type("Network", (), {"export_graph": graph, "inputs": images})()
    total = sum(layer.macs for layer in found)
    for left in ((), (found[0].node,)):
        interpreter = open_interpreter(litert_quantizer.quantize(network, "min-max", leave=left), "int8")
        assert (pieces(interpreter).count, pieces(interpreter).left) == (2, ("CAST",))
        wanted = 1.0 if not left else (total - found[0].macs) / total
        assert audit(products(interpreter)).share("int8") == pytest.approx(wanted)
