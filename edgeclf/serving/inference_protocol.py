"""The Open Inference Protocol (KServe v2, REST): requests become batches, outputs become responses; JSON or binary.

https://github.com/kserve/open-inference-protocol, and Triton's extension for binary tensors: behind the JSON, whose
length is in the header Inference-Header-Content-Length, lie the bytes of the tensors, little-endian.
"""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.bundle.manifest import Manifest, TensorSpec
from edgeclf_runtime.errors import BackendError, UsageError
from edgeclf_runtime.sanitize import inert

HEADER_LENGTH = "Inference-Header-Content-Length"
EXTENSIONS = ("binary_tensor_data",)
_LONGEST_LENGTH = 20  # digits
_NOT_OFFERED = (
    "classification",
    "shared_memory_region",
)  # Triton's: if they were ignored, the response would be another one than was requested
DATATYPES = {"uint8": "UINT8", "float16": "FP16", "float32": "FP32", "int32": "INT32", "int64": "INT64"}


@dataclass(frozen=True, slots=True)
class InferRequest:
    """A batch for the graph, the id to give back, and whether the output goes back as bytes."""

    batch: NDArray[np.generic]
    id: str | None
    binary_output: bool


def model_metadata(manifest: Manifest, name: str, threshold: float | None = None) -> dict[str, Any]:
    """What the model takes and gives, and what makes predictions of its logits, of which the protocol knows nothing.

    Probabilities are the softmax (sigmoid) of logits / temperature; below `unknown_below`, or below its class's own
    threshold, a prediction is "unknown", and so it is where the log-sum-exp of its logits (of softplus for sigmoid: the
    sum) lies below `unknown_below_energy`. `threshold` takes their place where the service was started with one.
    Of several labels an image each is predicted from its own of the `label_thresholds` on; being below all of them is
    "no label", not "unknown".
    """
    if manifest.multi_label:
        return {**_described_model(manifest, name), "parameters": _of_several_labels(manifest, threshold)}
    thresholds = manifest.thresholds
    per_class = None if threshold is not None or thresholds.per_class is None else list(thresholds.per_class)
    return {
        **_described_model(manifest, name),
        "parameters": {
            "labels": list(manifest.labels),
            "scores": manifest.scores,
            "temperature": manifest.temperature,
            "unknown_below": thresholds.unknown_below if threshold is None else threshold,
            "unknown_below_per_class": per_class,
            "unknown_below_energy": _least_energy(manifest, threshold),
            **_of_features(manifest, threshold),
        },
    }


def _described_model(manifest: Manifest, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "versions": ["1"],
        "platform": f"edgeclf_{manifest.target}",
        "inputs": [_described(manifest.inputs[0], DATATYPES[manifest.inputs[0].dtype])],
        "outputs": [_described(manifest.outputs[0], "FP32")],
    }


def _of_several_labels(manifest: Manifest, threshold: float | None) -> dict[str, Any]:
    least = manifest.thresholds.per_class or ()
    return {
        "labels": list(manifest.labels),
        "scores": manifest.scores,
        "temperature": manifest.temperature,
        "multi_label": True,
        "label_thresholds": list(least) if threshold is None else [threshold] * len(manifest.labels),
        "unknown_below_energy": _least_energy(manifest, threshold),
        **_of_features(manifest, threshold),
    }


def _least_energy(manifest: Manifest, threshold: float | None) -> float | None:
    energy = manifest.thresholds.energy
    return None if threshold is not None or energy is None else energy.below


def _of_features(manifest: Manifest, threshold: float | None) -> dict[str, Any]:
    """Of a bundle with a threshold of features, which the protocol's outputs don't show: that it is there."""
    found = manifest.thresholds.features
    return {} if found is None or threshold is not None else {"unknown_below_similarity": found.below}


def _described(spec: TensorSpec, datatype: str) -> dict[str, Any]:
    free = [-1 if isinstance(size, str) else size for size in spec.shape[1:]]
    return {"name": spec.name, "datatype": datatype, "shape": [-1, *free]}  # a fixed batch is filled up: see Session


def parse_request(body: bytes, header_length: str | None, manifest: Manifest, max_batch: int) -> InferRequest:
    """The request in `body`. Raises UsageError for what the model does not take."""
    text, raw = _parts(body, header_length)
    request = _object(_parsed(text), "the request")
    identity = request.get("id")
    if identity is not None and not isinstance(identity, str):
        raise UsageError(f"wanted a text as id, found {_shown(identity)}")
    inputs = request.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1:
        raise UsageError(f"wanted one input, found {_shown(inputs)}")
    spec = manifest.inputs[0]
    tensor = _object(inputs[0], "the input")
    if tensor.get("name") != spec.name or tensor.get("datatype") != DATATYPES[spec.dtype]:
        raise UsageError(
            f"wanted the input {spec.name!r} of {DATATYPES[spec.dtype]}, "
            f"found {_shown(tensor.get('name'))} of {_shown(tensor.get('datatype'))}"
        )
    shape = _checked_shape(tensor.get("shape"), spec, max_batch)
    return InferRequest(_values(tensor, raw, shape, spec), identity, _wants_binary(request, manifest.outputs[0].name))


def render_response(
    name: str, manifest: Manifest, request: InferRequest, outputs: NDArray[np.float32]
) -> tuple[bytes, dict[str, str]]:
    """Body and headers of the response. Raises BackendError where outputs are not finite."""
    if not np.isfinite(outputs).all():
        raise BackendError("the engine gave NaN or infinite outputs; run `edgeclf verify`")
    described: dict[str, Any] = {
        "name": manifest.outputs[0].name,
        "datatype": "FP32",
        "shape": list(outputs.shape),
    }
    raw = b""
    if request.binary_output:
        raw = np.ascontiguousarray(outputs, dtype="<f4").tobytes()
        described["parameters"] = {"binary_data_size": len(raw)}
    else:
        described["data"] = outputs.ravel().tolist()
    response: dict[str, Any] = {"model_name": name, "model_version": "1", "outputs": [described]}
    if request.id is not None:
        response["id"] = request.id
    text = json.dumps(response, allow_nan=False).encode()
    if not request.binary_output:
        return text, {"Content-Type": "application/json"}
    return text + raw, {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(text))}


def _parts(body: bytes, header_length: str | None) -> tuple[bytes, memoryview | None]:
    """The JSON, and the bytes behind it; None where the request has no binary part."""
    if header_length is None:
        return body, None
    decimal = header_length.isascii() and header_length.isdecimal() and len(header_length) <= _LONGEST_LENGTH
    if not (decimal and int(header_length) <= len(body)):
        raise UsageError(f"{HEADER_LENGTH} is at most the body's {len(body)} bytes, found {_shown(header_length)}")
    length = int(header_length)
    return body[:length], memoryview(body)[length:]


def _parsed(text: bytes) -> Any:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is no JSON")

    try:
        return json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the request is no JSON ({error})") from error


def _object(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"{what} must be a JSON object, found {_shown(value)}")
    return value


def _checked_shape(found: Any, spec: TensorSpec, max_batch: int) -> tuple[int, ...]:
    wanted = [size if isinstance(size, int) else "any" for size in spec.shape[1:]]
    if not isinstance(found, list) or not all(type(size) is int and size > 0 for size in found):
        raise UsageError(f"wanted the shape [N, {', '.join(map(str, wanted))}], found {_shown(found)}")
    fits = len(found) == len(spec.shape) and all(w in ("any", f) for w, f in zip(wanted, found[1:], strict=True))
    if not fits:
        raise UsageError(f"wanted the shape [N, {', '.join(map(str, wanted))}], found {_shown(found)}")
    if found[0] > max_batch:
        raise UsageError(f"wanted a batch of at most {max_batch}, found {found[0]}; send it in parts (--max-batch)")
    return tuple(found)


def _values(
    tensor: Mapping[str, Any], raw: memoryview | None, shape: tuple[int, ...], spec: TensorSpec
) -> NDArray[np.generic]:
    dtype = np.dtype(spec.dtype).newbyteorder("<")
    parameters = _parameters(tensor, "the input's parameters")
    declared = parameters.get("binary_data_size")
    if declared is None:
        return _from_json(tensor.get("data"), shape, np.dtype(spec.dtype))
    wanted = math.prod(shape) * dtype.itemsize
    if raw is None:
        raise UsageError(f"binary_data_size needs the header {HEADER_LENGTH}; it gives the offset of the bytes")
    if type(declared) is not int or not declared == len(raw) == wanted:
        raise UsageError(f"wanted {wanted} bytes behind the JSON, found {len(raw)}, declared as {_shown(declared)}")
    values = np.frombuffer(raw, dtype=dtype).reshape(shape).astype(spec.dtype)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise UsageError("wanted finite numbers, found NaN or infinity")
    return values


def _from_json(data: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[np.generic]:
    """A flat or nested list as an array. By way of float64, so that no text in it can make the array huge."""
    if not isinstance(data, list):
        raise UsageError(f"wanted a list of numbers as data, found {_shown(data)}")
    try:
        values = np.array(data, dtype=np.float64).ravel()
    except (ValueError, TypeError, OverflowError) as error:
        raise UsageError(f"wanted a list of numbers as data, flat or in the shape {list(shape)} ({error})") from error
    if values.size != math.prod(shape):
        raise UsageError(f"wanted {math.prod(shape)} numbers for the shape {list(shape)}, found {values.size}")
    if dtype.kind == "f":
        low, high = float(np.finfo(dtype).min), float(np.finfo(dtype).max)
    else:
        low, high = float(np.iinfo(dtype).min), float(np.iinfo(dtype).max)
        if not np.array_equal(values, np.rint(values)):
            raise UsageError(f"wanted whole numbers for {DATATYPES[dtype.name]}, found fractions")
    if not ((values >= low) & (values <= high)).all():  # NaN, which null becomes, is neither
        raise UsageError(f"wanted numbers of {low:g} to {high:g} for {DATATYPES[dtype.name]}")
    return values.astype(dtype).reshape(shape)


def _wants_binary(request: Mapping[str, Any], output: str) -> bool:
    parameters = _object(request.get("parameters", {}), "the request's parameters")
    outputs = request.get("outputs", [])
    if not isinstance(outputs, list) or len(outputs) > 1:
        raise UsageError(f"wanted the output {output!r} or none, found {_shown(outputs)}")
    wanted = parameters.get("binary_data_output", False)
    for each in outputs:
        described = _object(each, "the output")
        if described.get("name") != output:
            raise UsageError(f"no output {_shown(described.get('name'))}; the model has {output!r}")
        wanted = _parameters(described, "the output's parameters").get("binary_data", wanted)
    if not isinstance(wanted, bool):
        raise UsageError(f"wanted true or false for the binary output, found {_shown(wanted)}")
    return wanted


def _parameters(tensor: Mapping[str, Any], what: str) -> Mapping[str, Any]:
    parameters = _object(tensor.get("parameters", {}), what)
    for name in _NOT_OFFERED:
        if name in parameters:
            raise UsageError(f"no {name!r} among {what}; this service has {', '.join(EXTENSIONS)}")
    return parameters


def _shown(value: Any) -> str:
    """What was found, short and inert."""
    return inert(reprlib.repr(value))
