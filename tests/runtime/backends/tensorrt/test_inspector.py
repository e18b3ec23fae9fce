"""What an engine computes in, from the inspector's JSON.

LAYERS is a sample put together for these tests, no engine's own: its layers have the shape of those that NVIDIA
publishes with trt-engine-explorer (TensorRT 8.x, A100) and of what TensorRT 10 writes for fused kernels (Metadata,
layer types gemm and kgen).
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from edgeclf_runtime.backends.audit import Audit, Work, check_audit
from edgeclf_runtime.backends.tensorrt.inspector import audit_layers
from edgeclf_runtime.errors import GateError

FP16, FP32 = "Channel major FP16 format where channel % 8 == 0", "Row major linear FP32"
INT8 = "Thirty-two wide channel vectorized row major Int8 format"
BF16 = "Row major linear BFloat16"


def layer(name: str, kind: str, inputs: list[str], outputs: list[str], **more: Any) -> dict[str, Any]:
    sides = {
        side: [{"Name": f"{name} {side} {place}", "Location": "Device", "Dimensions": [1, 8], "Format/Datatype": text}]
        for side, texts in (("Inputs", inputs), ("Outputs", outputs))
        for place, text in enumerate(texts[:1])
    }
    sides["Inputs"] += [{"Name": "residual", "Format/Datatype": text} for text in inputs[1:]]
    return {"Name": name, "LayerType": kind, **sides, "TacticValue": "0x0", **more}


def convolution(name: str, datatype: str, weights: str, tactic: str = "sm80_xmma_fprop") -> dict[str, Any]:
    parameters = {"ParameterType": "Convolution", "Kernel": [3, 3], "OutMaps": 64, "Groups": 1, "HasReLU": 1}
    return layer(
        f"{name} + Relu",
        "CaskConvolution",
        [datatype],
        [datatype],
        **parameters,
        Weights={"Type": weights, "Count": 36864},
        TacticName=tactic,
        Metadata=f"[ONNX Layer: {name}]\x1e[ONNX Layer: Relu]",
    )


LAYERS = [
    layer("Reformatting CopyNode for Input Tensor 0 to stem", "Reformat", [FP32], [FP16]),
    convolution("stem", FP16, "Half"),
    convolution("block/conv", FP16, "Half"),
    layer("__myl_Move_myl0_0", "kgen", [FP32], [FP16], Metadata="[ONNX Layer: attention/qkv]"),
    layer("attention/qkv_myl0_1", "gemm", [FP16, FP32], [FP16], Metadata="[ONNX Layer: attention/qkv]"),
    layer("__myl_LayerNorm_myl0_2", "kgen", [FP32], [FP32], Metadata="[ONNX Layer: norm]\x1f[ONNX Layer: softmax]"),
    layer("__myl_FcAdd_myl0_3", "kgen", [FP16], [FP16], Metadata="[ONNX Layer: head]\x1e[ONNX Layer: bias]"),
]
WORK = [
    Work("stem", 100, "fp16"),
    Work("block/conv", 600, "fp16"),
    Work("attention/qkv", 200, "fp16"),
    Work("head", 100, "fp16"),
]


def audited(*layers: dict[str, Any]) -> Audit:
    return audit_layers(json.dumps({"Layers": list(layers), "Bindings": ["images", "logits"]}), WORK)


def replaced(name: str, other: dict[str, Any]) -> Audit:
    return audited(*(other if f"[ONNX Layer: {name}]" in each.get("Metadata", "") else each for each in LAYERS))


def test_all_work_in_half_precision_is_fp16_though_norm_and_softmax_stay_in_float() -> None:
    assert audited(*LAYERS).shares == {"fp16": 1.0}
    assert check_audit(audited(*LAYERS), "fp16", tf32=False, where="net") is None


def test_a_heavy_layer_in_float_fails_the_audit() -> None:
    found = replaced("block/conv", convolution("block/conv", FP32, "Float"))
    assert found.shares == {"fp16": 0.4, "fp32": 0.6}
    with pytest.raises(GateError, match=r"net: requested fp16, .* only 40% run in fp16 \(60% fp32, 40% fp16\), wanted"):
        check_audit(found, "fp16", tf32=False, where="net")


def test_a_light_layer_in_float_is_let_pass() -> None:
    found = replaced("stem", convolution("stem", FP32, "Float"))
    assert check_audit(found, "fp16", tf32=False, where="net") is None


@pytest.mark.parametrize(
    ("datatype", "weights", "precision"),
    [(FP32, "Float", "fp32"), (FP16, "Half", "fp16"), (BF16, "BFloat16", "bf16"), (INT8, "Int8", "int8")],
)
def test_datatypes_are_read_by_either_of_their_names(datatype: str, weights: str, precision: str) -> None:
    by_weights = convolution("stem", FP32 if precision != "fp32" else FP16, weights)
    assert replaced("stem", by_weights).shares[precision] >= 0.1
    by_input = {**convolution("stem", datatype, "?"), "Weights": None}
    assert replaced("stem", by_input).share(precision) >= 0.1


def test_tf32_is_fp32_only_where_it_was_allowed() -> None:
    found = audited(*(convolution(work.node, FP32, "Float", "sm80_xmma_fprop_tf32f32_tf32f32") for work in WORK))
    assert found.shares == {"tf32": 1.0}
    assert check_audit(found, "fp32", tf32=True, where="net") is None
    with pytest.raises(GateError, match="requested fp32"):
        check_audit(found, "fp32", tf32=False, where="net")


def test_a_node_in_a_copy_and_in_a_product_counts_by_the_product() -> None:
    assert audited(*LAYERS).share("fp32") == 0.0  # __myl_Move reads fp32


def test_before_metadata_the_names_of_fused_layers_are_read() -> None:
    old = [{key: value for key, value in each.items() if key != "Metadata"} for each in LAYERS[:3]]
    assert audit_layers(json.dumps({"Layers": old}), WORK[:2]).shares == {"fp16": 1.0}


def test_a_fused_layer_of_several_types_shows_nothing() -> None:
    mixed = layer("{ForeignNode[block]}", "Myelin", [FP32], [FP16], Metadata="[ONNX Layer: block/conv]")
    found = replaced("block/conv", mixed)
    assert found.shares == {"fp16": 0.4, "unknown": 0.6}
    doubt = check_audit(found, "fp16", tf32=False, where="net")
    assert doubt is not None and "the engine does not report whether it computes in fp16" in doubt


def test_an_unknown_precision_excuses_no_wrong_one() -> None:
    found = Audit({"fp16": 0.1, "fp32": 0.5, "unknown": 0.4})
    with pytest.raises(GateError):
        check_audit(found, "fp16", tf32=False, where="net")


@pytest.mark.parametrize("information", ["", "no JSON", "[]", '{"Layers": ["stem + Relu", "head"]}', '{"Layers": []}'])
def test_an_inspector_that_reports_nothing_leaves_it_open(information: str) -> None:
    found = audit_layers(information, WORK)
    assert found.shares == {"unknown": 1.0}
    assert check_audit(found, "fp16", tf32=False, where="net") is not None


def test_a_network_without_products_has_nothing_to_audit() -> None:
    assert check_audit(audit_layers("{}", []), "fp16", tf32=False, where="net") is None
