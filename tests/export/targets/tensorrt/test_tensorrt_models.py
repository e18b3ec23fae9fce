"""Every backbone of `edgeclf models`, prepared for TensorRT, then parsed and built by TensorRT-RTX: half an hour."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from edgeclf_export.graph.casting import cast_graph
from edgeclf_export.sources.backbones import load_backbone
from edgeclf_export.sources.model_zoo import known_backbones
from edgeclf_export.targets.tensorrt.lint import lint
from edgeclf_runtime.backends.tensorrt.builder import BuildSettings, build_plan
from edgeclf_runtime.backends.tensorrt.library import Library

BACKBONES = sorted(known_backbones(), key=lambda backbone: backbone.gmacs)


@pytest.fixture(scope="module")
def graph_of() -> Callable[[str], bytes]:
    """The ONNX graph of a backbone with random weights, of its own size; the last is kept for the next precision."""
    last: dict[str, bytes] = {}

    def graph_of(name: str) -> bytes:
        if name not in last:
            last.clear()
            last[name] = load_backbone(name, "random").make_onnx("uint8-nhwc", 18)
        return last[name]

    return graph_of


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])  # the inner loop
@pytest.mark.parametrize("name", [backbone.name for backbone in BACKBONES])
def test_tensorrt_rtx_builds_every_backbone(
    name: str, precision: str, rtx: Library, graph_of: Callable[[str], bytes]
) -> None:
    export_graph = graph_of(name)
    model = export_graph if precision == "fp32" else cast_graph(export_graph, precision)
    assert not [finding for finding in lint(model) if finding.level == "error"]
    assert build_plan(model, name, BuildSettings(), rtx).data
