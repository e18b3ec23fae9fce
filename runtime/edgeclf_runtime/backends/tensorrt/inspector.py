"""What an engine really computes in: the inspector's layers, weighed with the work of the ONNX nodes inside them.

TensorRT is free to fuse and to choose kernels, so what was requested is compared with what it chose. The JSON is that
of IEngineInspector at ProfilingVerbosity.DETAILED
(https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/engine-tools.html).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from edgeclf_runtime.backends.audit import UNKNOWN, Audit, Work, audit

_NODE = re.compile(r"\[ONNX Layer: (.*?)\](?=$|[\s\x1e\x1f]|\[ONNX Layer: )")
_MULTIPLIES = re.compile(r"conv|gemm|matrix|matmul", re.IGNORECASE)
# in this order: "BFloat16" holds "Float", "Row major linear FP16" holds neither
_DATATYPES = (
    ("bf16", re.compile(r"bf16|bfloat", re.IGNORECASE)),
    ("fp8", re.compile(r"fp8", re.IGNORECASE)),
    ("fp16", re.compile(r"fp16|half", re.IGNORECASE)),
    ("int8", re.compile(r"int8", re.IGNORECASE)),
    ("fp32", re.compile(r"fp32|float", re.IGNORECASE)),
)


def audit_layers(information: str, work: Sequence[Work]) -> Audit:
    """The audit that follows from the inspector's JSON and the network's work."""
    layers = _layers(information)
    return audit(replace(item, precision=_precision_of(item.node, layers)) for item in work)


def _layers(information: str) -> list[dict[str, Any]]:
    """The layers that have details; an engine built without them lists names only."""
    try:
        content = json.loads(information)
    except ValueError:
        return []
    layers = content.get("Layers", ()) if isinstance(content, dict) else ()
    return [layer for layer in layers if isinstance(layer, dict)]


def _precision_of(node: str, layers: Iterable[dict[str, Any]]) -> str:
    """A node may stand in several layers, such as a copy of its weights: the one that multiplies counts."""
    holding = [layer for layer in layers if node in _nodes(layer)]
    multiplying = [layer for layer in holding if _multiplies(layer)]
    found = {_multiplied_in(layer) for layer in multiplying} or {_only_precision(layer) for layer in holding}
    return found.pop() if len(found) == 1 else UNKNOWN


def _nodes(layer: dict[str, Any]) -> list[str]:
    metadata = layer.get("Metadata")
    if isinstance(metadata, str) and metadata:
        return _NODE.findall(metadata)
    return str(layer.get("Name", "")).split(" + ")  # before TensorRT 8.6


def _multiplies(layer: dict[str, Any]) -> bool:
    return any(_MULTIPLIES.search(str(layer.get(key, ""))) for key in ("LayerType", "ParameterType"))


def _multiplied_in(layer: dict[str, Any]) -> str:
    """A kernel's name shows TF32; else the weights' type counts, else that of what they are multiplied with."""
    if "tf32" in str(layer.get("TacticName", "")).lower():
        return "tf32"
    weights = layer.get("Weights")
    weights_in = _precision(str(weights.get("Type", ""))) if isinstance(weights, dict) else UNKNOWN
    if weights_in != UNKNOWN:
        return weights_in
    return next(iter(_tensor_precisions(layer, "Inputs")), UNKNOWN)


def _only_precision(layer: dict[str, Any]) -> str:
    """Of a fused layer that holds a product among other things: known only where all its tensors are of one type."""
    found = set(_tensor_precisions(layer, "Inputs")) | set(_tensor_precisions(layer, "Outputs"))
    return found.pop() if len(found) == 1 else UNKNOWN


def _tensor_precisions(layer: dict[str, Any], side: str) -> list[str]:
    tensors = [tensor for tensor in layer.get(side, ()) if isinstance(tensor, dict)]
    return [_precision(str(tensor.get("Format/Datatype") or tensor.get("Datatype") or "")) for tensor in tensors]


def _precision(datatype: str) -> str:
    return next((name for name, pattern in _DATATYPES if pattern.search(datatype)), UNKNOWN)
