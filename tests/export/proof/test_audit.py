"""The precision that engines report is weighed by multiplications, and too little of it fails an export."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from edgeclf_export.graph.layers import layers
from edgeclf_export.targets.registry import TARGETS
from edgeclf_runtime.backends.audit import Audit, check_audit
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.errors import GateError

Make = Callable[..., Mapping[str, Path]]


@pytest.mark.parametrize("backbone", ["test_resnet", pytest.param("mobilenetv3_small_050", marks=pytest.mark.slow)])
def test_every_multiplication_of_an_fp32_bundle_is_reported_as_fp32(backbone: str, make: Make) -> None:
    for target, path in make(backbone).items():
        manifest = Bundle.open(path).manifest
        found = TARGETS[target].shares(path, manifest)
        assert found == (None if target == "pytorch" else {"fp32": pytest.approx(1.0)}), target
        assert manifest.shares == found


def test_a_network_multiplies_as_often_in_each_engine_as_in_its_onnx_graph(make: Make) -> None:
    import onnx

    bundles = make("test_resnet")  # its channels come in sixteens, up to which ONNX Runtime would pad them
    graph = onnx.load(bundles["onnx"] / "model.onnx")
    wanted = sum(layer.macs for layer in layers(graph))
    for target in ("onnx", "openvino"):
        manifest = Bundle.open(bundles[target]).manifest
        auditor = TARGETS[target].audit
        assert auditor is not None
        assert sum(work.macs for work in auditor(bundles[target], manifest)) == wanted > 0, target


def test_under_80_percent_at_the_precision_asked_for_fails() -> None:
    check_audit(Audit({"int8": 0.81, "fp32": 0.19}), "int8", where="onnx")
    with pytest.raises(GateError, match=r"only 79% run in int8 \(79% int8, 21% fp32\)"):
        check_audit(Audit({"int8": 0.79, "fp32": 0.21}), "int8", where="onnx")
