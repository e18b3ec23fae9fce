"""What an engine really computes in: share of the multiplications by precision, read back from the engine itself.

ONNX Runtime tells it in the profile of one inference and in the graph that it optimised, OpenVINO in its runtime model.
TensorRT's inspector is read where the engine is built (`edgeclf_runtime.backends.tensorrt.inspector`).
"""

from __future__ import annotations

import json
import math
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeclf_export.graph.editing import constants_of
from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.backends.ort import import_onnxruntime
from edgeclf_runtime.backends.ov import MODEL, WEIGHTS, compile_settings, import_openvino
from edgeclf_runtime.bundle.manifest import Manifest
from edgeclf_runtime.bundle.quantization_report import shares_in_words
from edgeclf_runtime.errors import GateError

LEAST_SHARE = 0.8
_ORT_TYPES = {"uint8": "int8", "int8": "int8", "float": "fp32", "float16": "fp16", "bfloat16": "bf16"}
_OV_TYPES = {"u8": "int8", "i8": "int8", "f32": "fp32", "f16": "fp16", "bf16": "bf16"}
_PRODUCTS = ("Gemm", "MatMul")
Shares = dict[str, float]
Work = tuple[str, int]  # precision, multiply-accumulates for one picture


def audit(folder: Path, manifest: Manifest) -> Shares | None:
    """Share (0..1) of the MACs of convolutions and matrix products by precision; None: this engine tells nothing."""
    auditor = _AUDITORS.get(manifest.target)
    if auditor is None or manifest.state == "portable":
        return None
    macs: dict[str, int] = defaultdict(int)
    for precision, found in auditor(folder, manifest):
        macs[precision] += found
    total = sum(macs.values())
    return {precision: found / total for precision, found in sorted(macs.items()) if found}


def check_shares(shares: Shares, precision: str, where: str) -> None:
    """Raises GateError where less than 80 % of the multiplications run in `precision`; "mixed" is int8 and others."""
    wanted = "int8" if precision == "mixed" else precision
    if shares and shares.get(wanted, 0.0) < LEAST_SHARE:
        raise GateError(
            f"{where}: asked for {wanted}, but of the multiplications of convolutions and matrix products only "
            f"{shares.get(wanted, 0.0):.0%} run in it ({shares_in_words(shares)}), wanted {LEAST_SHARE:.0%}"
        )


def _ort_work(folder: Path, manifest: Manifest) -> Iterator[Work]:
    """Shapes and types as they were run, weights as they stand in the optimised graph: prepacked ones are not told."""
    import onnx

    from edgeclf_runtime.backends.ort import MODEL

    onnxruntime = import_onnxruntime()
    with tempfile.TemporaryDirectory() as scratch:
        settings = onnxruntime.SessionOptions()
        settings.log_severity_level = 4  # it warns that the saved graph is for this machine
        settings.optimized_model_filepath = str(Path(scratch, "optimized.onnx"))
        settings.enable_profiling = True
        settings.profile_file_prefix = str(Path(scratch, "profile"))
        model = (folder / MODEL).read_bytes()
        session = onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
        session.run(None, {session.get_inputs()[0].name: _blank(manifest)})
        events = json.loads(Path(session.end_profiling()).read_text())
        graph = onnx.load(settings.optimized_model_filepath).graph
    constants = {name: list(item.dims) for name, item in constants_of(graph).items()}
    nodes = {node.name: node for node in graph.node}
    for event in events:
        told, name = event.get("args", {}), event.get("name", "").removesuffix("_kernel_time")
        if event.get("cat") == "Node" and name != event["name"] and "output_type_shape" in told:
            yield from _ort_node(told, nodes.get(name), constants)


def _ort_node(told: dict[str, Any], node: Any, constants: dict[str, list[int]]) -> Iterator[Work]:
    operator = told["op_name"]
    kind, entry = next(iter(told["input_type_shape"][0].items()))
    (output,) = told["output_type_shape"][0].values()
    if "Conv" in operator and node is not None:
        weights = [constants[name] for name in node.input if len(constants.get(name, ())) >= 3]
        if weights:
            yield _ORT_TYPES.get(kind, kind), math.prod(output) * math.prod(weights[0][1:])
    elif any(product in operator for product in _PRODUCTS):
        yield _ORT_TYPES.get(kind, kind), math.prod(output) * entry[-1]


def _ov_work(folder: Path, manifest: Manifest) -> Iterator[Work]:
    """The runtime model of a batch of one, compiled as a device compiles it."""
    from edgeclf_runtime.backends.ov import HINTS

    core = import_openvino().Core()
    network = core.read_model(folder / MODEL, folder / WEIGHTS)
    network.reshape([1, *(size for size in manifest.inputs[0].shape[1:] if isinstance(size, int))])
    compiled = core.compile_model(network, "CPU", compile_settings(SessionOptions(), HINTS[manifest.compute_precision]))
    for node in compiled.get_runtime_model().get_ordered_ops():
        facts = node.get_rt_info()
        layer, told = str(facts["layerType"].astype(str)), str(facts["runtimePrecision"].astype(str))
        if layer not in ("Convolution", "Deconvolution", "FullyConnected", "MatMul"):
            continue
        entries = [list(entry.get_shape()) for entry in node.inputs()]
        output = list(node.output(0).get_shape())
        yield _OV_TYPES.get(told, told), _ov_macs(layer, entries, output)


def _ov_macs(layer: str, entries: Sequence[list[int]], output: list[int]) -> int:
    if layer in ("FullyConnected", "MatMul"):
        return math.prod(output) * entries[0][-1]
    weight = entries[1]
    kernel = weight[2:] if len(weight) == len(output) + 1 else weight[1:]  # with groups their number comes first
    return math.prod(entries[0] if layer == "Deconvolution" else output) * math.prod(kernel)


def _blank(manifest: Manifest) -> np.ndarray[Any, Any]:
    """A batch of one; what it shows does not change in what it is computed."""
    entry = manifest.inputs[0]
    sizes = [size for size in entry.shape[1:] if isinstance(size, int)]
    return np.zeros((entry.fixed_batch or 1, *sizes), dtype=entry.dtype)


_AUDITORS: dict[str, Callable[[Path, Manifest], Iterator[Work]]] = {"onnx": _ort_work, "openvino": _ov_work}
