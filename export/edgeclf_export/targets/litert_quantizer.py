"""INT8 and fp16 weights of a .tflite by ai-edge-quantizer, in as few pieces for the delegate as the model in fp32.

XNNPACK has no int8 hard-swish, GELU, softmax or attention product: quantized, each of them ends a piece and runs in a
slow kernel. So what is quantized first is what XNNPACK has in int8, and where that breaks the graph nonetheless, the
convolutions and products with weights alone. Seen at batch 1 on an x86 CPU, CPU time over fp32's: MobileNetV3-large
0.8 x in place of 1.65 x with everything quantized, ViT-tiny 0.4 x in place of 2.6 x.

Ranges are edgeclf's own, first from the minimum to the maximum: the quantizer's moving average clips, which changed a
fifth of the top-1 predictions where it was tried.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeclf_export.graph.editing import constants_of
from edgeclf_export.graph.layers import layers
from edgeclf_export.targets.litert_convert import float_model
from edgeclf_export.targets.litert_trial import try_pieces
from edgeclf_export.targets.log_warnings import without_log_warnings
from edgeclf_export.targets.quantizer import Network
from edgeclf_runtime.backends.engine import missing_engine
from edgeclf_runtime.backends.litert import open_file, open_interpreter
from edgeclf_runtime.backends.litert_graph import computed_tensors, constants
from edgeclf_runtime.backends.native_output import STDERR, printed_aside
from edgeclf_runtime.errors import BackendError, one_line

WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "CONV_2D_TRANSPOSE")
IN_INT8 = (
    *WEIGHTED,
    *("ADD", "SUB", "MUL", "LOGISTIC", "MEAN", "AVERAGE_POOL_2D", "MAX_POOL_2D"),
    *("CONCATENATION", "PAD", "RESHAPE", "TRANSPOSE"),
)
_EVERY = ".*"
METHODS = ("min-max", "percentile")
_RAREST = 1e-4  # of an image's values, at each end


def quantize(network: Network, method: str, *, leave: Collection[str] = ()) -> bytes:
    """The model with int8 activations, and int8 weights with a scale a channel; logits stay float.

    `method`: of the ranges, "min-max" or "percentile"; `leave`: ONNX nodes that stay in float. Raises BackendError
    where LiteRT crashes on it, or runs it in more pieces than in fp32.
    """
    model = float_model(network.export_graph)
    ranges = network.export_graph.once(f"litert {method}", lambda: _ranges(model, network.inputs, method))
    left = _left_in_float(model, network.export_graph.onnx, leave)
    whole = network.export_graph.once("litert pieces", lambda: try_pieces(model))
    for operators in (IN_INT8, WEIGHTED):
        made = _write(model, operators, left, ranges)
        found = try_pieces(made)
        if found is not None and whole is not None and found.count <= whole.count:
            return made
    if found is None or whole is None:
        raise BackendError("LiteRT crashes where it opens this model in int8; export fp16")
    raise BackendError(
        f"in int8 LiteRT runs this model in {found.count} steps ({found}), in fp32 in {whole.count}: each step more is "
        "a copy and a slow kernel"
    )


def to_fp16(model: bytes) -> bytes:
    """Weights stored in 16 bits; the delegate widens them once, as it opens the model."""
    library = _import_quantizer()
    types = library.qtyping
    stored = types.TensorQuantizationConfig(num_bits=16, dtype=types.TensorDataType.FLOAT)
    config = types.OpQuantizationConfig(
        weight_tensor_config=stored, compute_precision=types.ComputePrecision.FLOAT, explicit_dequantize=True
    )
    with _quiet():
        quantizer = library.quantizer.Quantizer(model)
        for operator in WEIGHTED:
            quantizer.update_quantization_recipe(_EVERY, operator, config, "float_casting")
        return _finished(quantizer, None)


def _write(model: bytes, operators: Collection[str], left: Collection[str], ranges: dict[str, Any]) -> bytes:
    library = _import_quantizer()
    with _quiet():
        quantizer = library.quantizer.Quantizer(model)
        for operator in operators:
            quantizer.add_static_config(_EVERY, operator, activation_num_bits=8, weight_num_bits=8)
        for scope in left:
            for operator in WEIGHTED:
                quantizer.update_quantization_recipe(re.escape(scope), operator, algorithm_key="no_quantize")
        quantizer.update_quantization_recipe(_EVERY, "OUTPUT", algorithm_key="no_quantize")
        return _finished(quantizer, copy.deepcopy(ranges))  # it changes them


def _finished(quantizer: Any, ranges: dict[str, Any] | None) -> bytes:
    try:
        made = quantizer.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
    except (RuntimeError, ValueError, TypeError, LookupError) as error:
        raise BackendError(f"ai-edge-quantizer can't quantize this model: {one_line(error)}") from error
    return bytes(made.quantized_model)


def _ranges(model: bytes, inputs: NDArray[np.generic], method: str) -> dict[str, dict[str, NDArray[np.float32]]]:
    """Of every float tensor that is computed, over the calibration images, as the quantizer takes them.

    "percentile" is the widest of the images' own tails: their mean would cut half of the images.
    """
    interpreter = open_interpreter(model, "the model", keep_tensors=True)
    (entry,) = interpreter.get_input_details()
    tensors = {int(index): name for index, name in computed_tensors(interpreter)}
    found: dict[str, NDArray[np.float32]] = {}
    ranks: dict[str, int] = {}  # the quantizer broadcasts a range against constants beside the tensor: of its rank
    for place in range(len(inputs)):
        interpreter.set_tensor(entry["index"], inputs[place : place + 1])
        interpreter.invoke()
        for index, name in tensors.items():
            values = interpreter.get_tensor(index)
            ranks[name], seen = values.ndim, _ends(values, method)
            before = found.get(name, seen)
            found[name] = np.array([min(before[0], seen[0]), max(before[1], seen[1])], np.float32)
    return {
        name: {"min": ends[0].reshape((1,) * ranks[name]), "max": ends[1].reshape((1,) * ranks[name])}
        for name, ends in found.items()
    }


def _ends(values: NDArray[np.float32], method: str) -> NDArray[np.float32]:
    """Of the finite values: a pooling's padding is minus infinity, a range on which XNNPACK crashes (seen in 2.3)."""
    values = values[np.isfinite(values)]
    if not values.size:
        return np.zeros(2, np.float32)
    if method == "min-max":
        return np.array([values.min(), values.max()], np.float32)
    return np.quantile(values, (_RAREST, 1 - _RAREST)).astype(np.float32)


def _left_in_float(model: bytes, graph: bytes, leave: Collection[str]) -> list[str]:
    """The outputs of the operators that have the weights of these ONNX nodes: names differ, weights don't."""
    import onnx

    if not leave:
        return []
    network = onnx.load_from_string(graph)
    stored = constants_of(network.graph)
    wanted = [
        onnx.numpy_helper.to_array(stored[layer.weight])
        for layer in layers(network)
        if layer.node in leave and layer.weight is not None
    ]
    found = [name for name, value in constants(open_file(model, "the model")) if any(_alike(value, w) for w in wanted)]
    if not found:
        raise BackendError(f"the layers {', '.join(leave)} are not found in the .tflite")
    return found


def _alike(found: NDArray[np.float32], wanted: NDArray[np.float32]) -> bool:
    """Whether these are the same weights: convolutions (O, I, H, W) are (O, H, W, I) or (1, H, W, C) there."""
    layouts = [wanted, wanted.T]
    if wanted.ndim == 4:
        layouts = [wanted.transpose(0, 2, 3, 1), wanted.transpose(1, 2, 3, 0)]
    return any(each.shape == found.shape and np.allclose(each, found, rtol=1e-3, atol=1e-6) for each in layouts)


def _import_quantizer() -> Any:
    """The package, with its modules. Raises BackendError."""
    try:
        import ai_edge_quantizer
        from ai_edge_quantizer import qtyping, quantizer  # noqa: F401
    except ImportError as error:
        raise missing_engine("ai_edge_quantizer", "litert-export", error) from error
    return ai_edge_quantizer


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps its progress bars and remarks aside; errors are raised, not printed."""
    with printed_aside(STDERR), without_log_warnings():
        yield
