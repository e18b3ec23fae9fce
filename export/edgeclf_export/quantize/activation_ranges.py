"""The range of every activation over the calibration images, measured once: min-max, percentiles, least squared error.

All values are of the float network in ONNX Runtime; one pass serves every method and every engine whose quantizer takes
ranges.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgeclf_export.graph.batches import batched
from edgeclf_runtime.backends.ort import import_onnxruntime

Method = Literal["min-max", "percentile", "mse"]
PERCENTILE = 99.99
_SAMPLES = 4096  # of a tensor and image, evenly spread; the extremes are of all values
_CLIPS = np.linspace(0.3, 1.0, 36)
_LEVELS = 255


@dataclass(frozen=True)
class Activations:
    """Values of every float tensor: its extremes, and an evenly spread sample of each image."""

    extremes: dict[str, tuple[float, float]]
    values: dict[str, NDArray[np.float32]]

    def ranges(self, method: Method) -> dict[str, tuple[float, float]]:
        """Lowest and highest value that a tensor can take after quantization; 0 is always inside."""
        return {name: self._range(name, method) for name in self.extremes}

    def _range(self, name: str, method: Method) -> tuple[float, float]:
        low, high = self.extremes[name]
        if method == "percentile":
            tail = (100 - PERCENTILE) / (1 if low >= 0 or high <= 0 else 2)
            lower, upper = np.percentile(self.values[name], (tail, 100 - tail))
            low, high = (low if low >= 0 else float(lower)), (high if high <= 0 else float(upper))
        elif method == "mse":
            low, high = least_squares(self.values[name], low, high)
        return min(low, 0.0), max(high, 0.0)


def observe(model: bytes, pixels: NDArray[np.generic]) -> Activations:
    """Values of the network's float tensors for (N, …) inputs of its own type, run one at a time."""
    names, session = _with_all_outputs(model)
    entry = session.get_inputs()[0].name
    extremes: dict[str, tuple[float, float]] = {}
    seen: dict[str, list[NDArray[np.float32]]] = {name: [] for name in names}
    for batch in batched(pixels, fixed_batch(session), 1):
        for name, found in zip(names, session.run(names, {entry: batch}), strict=True):
            values = np.asarray(found, dtype=np.float32).reshape(-1)
            if not values.size:
                continue
            low, high = extremes.get(name, (np.inf, -np.inf))
            extremes[name] = min(low, float(values.min())), max(high, float(values.max()))
            seen[name].append(values[:: max(1, values.size // _SAMPLES)].copy())
    return Activations(extremes, {name: np.concatenate(seen[name]) for name in extremes})


def least_squares(values: NDArray[np.float32], low: float, high: float) -> tuple[float, float]:
    """The share of the range (low, high) whose 8-bit grid leaves the least squared error, clipping included."""
    edges = np.histogram_bin_edges(values, 2048, (low, high)) if high > low else None
    if edges is None:
        return low, high
    weights, _ = np.histogram(values, edges)
    centres = (edges[:-1] + edges[1:]) / 2
    errors = []
    for clip in _CLIPS:
        lowest, highest = min(low * clip, 0.0), max(high * clip, 0.0)
        step = max((highest - lowest) / _LEVELS, np.finfo(np.float32).tiny)
        zero = np.round(-lowest / step)
        grid = (np.clip(np.round(centres / step) + zero, 0, _LEVELS) - zero) * step
        errors.append(float((weights * (grid - centres) ** 2).sum()))
    best = float(_CLIPS[int(np.argmin(errors))])
    return low * best, high * best


def _with_all_outputs(model: bytes) -> tuple[list[str], Any]:
    """The names of all float tensors between nodes, and a session that returns them."""
    import onnx

    graph = onnx.shape_inference.infer_shapes(onnx.load_from_string(model))
    known = {item.name: item for item in graph.graph.value_info}
    outputs = {item.name for item in graph.graph.output}
    made = [name for node in graph.graph.node for name in node.output if name]
    names = [
        name
        for name in made
        if name in outputs or (name in known and known[name].type.tensor_type.elem_type == onnx.TensorProto.FLOAT)
    ]
    graph.graph.output.extend(known[name] for name in names if name not in outputs)
    return names, open_quietly(graph.SerializeToString())


def fixed_batch(session: Any) -> int | None:
    """The number of images that a session's graph is fixed to; None: any."""
    found = session.get_inputs()[0].shape[0]
    return found if isinstance(found, int) else None


def run_logits(model: bytes, inputs: NDArray[np.generic], most: int = 16) -> NDArray[np.float32]:
    """(N, classes) logits of the inputs that `batched` leaves."""
    session = open_quietly(model)
    entry, batches = session.get_inputs()[0].name, batched(inputs, fixed_batch(session), most)
    return np.concatenate([session.run(None, {entry: batch})[0] for batch in batches])


def open_quietly(model: bytes) -> Any:
    """An ONNX Runtime session on the CPU that returns all outputs of the graph."""
    onnxruntime = import_onnxruntime()
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")  # fair to others on a busy machine
    return onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
