"""A classifier as an ONNX file of any exporter, with a float or uint8 input: the pixel contract is put in front."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgeclf_export.exportable import Exportable
from edgeclf_export.sources.labels import shown_labels
from edgeclf_export.sources.onnx_file.floats import in_float32, other_floats
from edgeclf_export.sources.onnx_file.graph import ForeignGraph, make_onnx_graph
from edgeclf_export.sources.onnx_file.input import NetworkInput, find_input
from edgeclf_export.sources.onnx_file.output import choose_output, cut_at, left_activation, tensor_type
from edgeclf_export.sources.onnx_file.quantized import reference_of
from edgeclf_export.sources.onnx_file.reading import parse_foreign
from edgeclf_runtime.backends.ort import import_onnxruntime
from edgeclf_runtime.bundle.manifest import Normalization, Reference
from edgeclf_runtime.bundle.proof import TOLERANCES, compare, verdict_of
from edgeclf_runtime.errors import DataError, UsageError, one_line
from edgeclf_runtime.hashing import hash_file
from edgeclf_runtime.images.pixels import Pixels

_ROUNDED = 0.02  # how far a score in 8 bits, in steps of 1/256 or 1/128, may be from the one in float
_TOTALS = (1, 100)  # what probabilities add up to: 1, or 100 in percent
UNCHANGED = Normalization((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255))  # the levels 0..255 themselves


def load_onnx_classifier(
    path: Path,
    *,
    labels: tuple[str, ...],
    pixels: Pixels,
    normalization: Normalization | None,
    channels: Literal["rgb", "bgr"] = "rgb",
    output: str | None = None,
    multi_label: bool = False,
) -> Exportable:
    """An ONNX classifier with one input, (N, 3, H, W) or (N, H, W, 3), ready for export.

    A softmax or sigmoid at its end is cut off and recorded, since bundles give logits.

    Parameters
    ----------
    normalization
        Of its float input; None for a file that takes uint8 pixels and normalises them itself.
    channels
        Their order in the input; `normalization` is in the order R, G, B either way.
    output
        The output that has the logits; None: the only one that can have them.
    multi_label
        An image may have several labels, or none. The file ends in a sigmoid, or in logits that are meant for one.

    Raises
    ------
    DataError
        The file is no such classifier.
    UsageError
        Several outputs are possible, the normalisation does not fit the input's type, or a softmax `multi_label`.
    """
    network, note = _read_network(path, pixels, labels, output)
    if multi_label:
        network = _with_sigmoids(network)
    normalization = replace(_fitting_normalization(network, normalization), channels=channels)
    _check_logits(network, normalization, pixels, labels)
    flat = len(network.session.get_outputs()[0].shape) == 2
    graph = ForeignGraph(path, network.model, network.input, len(labels), flat, bool(network.quantized))
    notes = [note, _note_on_floats(network), *network.quantized]
    return Exportable(
        backbone=f"onnx/{path.name}",
        weights=f"file:{path.name} sha256:{hash_file(path)}",
        labels=labels,
        pixels=pixels,
        normalization=normalization,
        reference=Reference("onnx", f"{path.name} {hash_file(path)}"),
        run_reference=lambda batch: _own_logits(network, batch, normalization),
        make_onnx=lambda form, opset: make_onnx_graph(graph, pixels, normalization, form),
        batch=network.input.batch,
        scores=network.scores,
        multi_label=multi_label,
        quantized=network.quantized,
        notes=tuple(filter(None, notes)),
    )


@dataclass(frozen=True)
class _Network:
    """A parsed ONNX model whose one output is its logits, (N, classes) or with sides of 1 behind.

    `session` runs `model`, in float32. `own` runs the file in its other float types, `floats`; None: there are none,
    or ONNX Runtime lacks operators for them. `activation` runs the file with its last activation. Of a file that is
    quantized already, `session` runs it without rounding where that is possible, and `quantized` lists its limits.
    """

    path: Path
    model: Any
    session: Any
    own: Any | None
    activation: Any
    input: NetworkInput
    floats: tuple[str, ...]
    scores: Literal["softmax", "sigmoid"]
    quantized: tuple[str, ...] = ()


def _read_network(
    path: Path, pixels: Pixels, labels: tuple[str, ...], output: str | None
) -> tuple[_Network, str | None]:
    model = parse_foreign(path)
    entry = find_input(model, pixels, path)
    choice = choose_output(model, labels, output, path)
    elem_type = tensor_type(model, choice.tensor)
    cut = cut_at(model, choice, elem_type, activated=False)
    floats = other_floats(cut)
    single = in_float32(cut) if floats else cut
    reference, limits = reference_of(single, lambda unrounded: _open_own_session(unrounded, path) is not None)
    session, own = _open_session(reference, path), _open_own_session(cut, path) if floats else None
    activation = None
    if choice.activation is not None:
        whole = cut_at(model, choice, elem_type, activated=True)
        activation = _open_session(in_float32(whole) if floats else whole, path)
    return _Network(path, single, session, own, activation, entry, floats, choice.scores, limits), choice.note


def _with_sigmoids(network: _Network) -> _Network:
    """For several labels an image: logits without an activation are those of sigmoids. Raises UsageError for others."""
    if network.activation is not None and network.scores != "sigmoid":
        raise UsageError(
            f"{network.path}: ends in a {network.scores}, which has one label predicted; leave --multi-label out"
        )
    return replace(network, scores="sigmoid")


def _fitting_normalization(network: _Network, given: Normalization | None) -> Normalization:
    if network.input.kind != "uint8":
        if given is None:
            raise UsageError(
                f"{network.path}: takes floats, and how pixels are normalised is not known; give --mean R,G,B and "
                "--std R,G,B (ImageNet's are 0.485,0.456,0.406 and 0.229,0.224,0.225)"
            )
        return given
    if given is not None and not np.allclose([given.mean, given.std], [UNCHANGED.mean, UNCHANGED.std], atol=1e-9):
        raise UsageError(
            f"{network.path}: takes uint8 pixels, so normalisation is inside it already; leave out --mean, --std "
            "and --scale"
        )
    return UNCHANGED


def _note_on_floats(network: _Network) -> str | None:
    if not network.floats:
        return None
    found = "compared with its own logits" if network.own else "for onnxruntime can't compute its own logits"
    return f"it computes in {_words(network.floats)}: its bundles are made from the same weights in float32, {found}"


def _words(floats: tuple[str, ...]) -> str:
    return " and ".join(name.replace("double", "float64") for name in floats)


def _open_session(model: Any, path: Path) -> Any:
    onnxruntime = import_onnxruntime()
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4  # what fails is raised
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exceptions share no narrower base
        raise DataError(f"{path}: onnxruntime can't load it ({one_line(error)})") from error


def _open_own_session(model: Any, path: Path) -> Any:
    """A session in the file's own types; None where ONNX Runtime can't run those: it has no float64 convolution."""
    try:
        return _open_session(model, path)
    except DataError:
        return None


def _check_logits(network: _Network, normalization: Normalization, pixels: Pixels, labels: tuple[str, ...]) -> None:
    """Raises DataError where the output is not one logit a class, or does not match the file's own scores."""
    noise = np.random.default_rng(0).integers(0, 256, (2, *pixels.crop_px, 3), dtype=np.uint8)
    logits = _own_logits(network, noise, normalization)
    if logits.shape != (2, len(labels)):
        found = " x ".join(map(str, logits.shape[1:])) or "no"
        raise DataError(
            f"{network.path}: wanted a logit for each of {shown_labels(labels)}, found {found} for each image"
        )
    if network.activation is not None:
        values = _input_of(network, noise, normalization)
        own = _run(network, network.activation, values)
        mine = _run(network, _open_session(network.model, network.path), values) if network.quantized else logits
        if not np.allclose(_activated(mine, network.scores), own, atol=_ROUNDED if network.quantized else 5e-3):
            raise DataError(
                f"{network.path}: its last {network.scores} is not over its classes; export it without its last "
                "activation"
            )
    apart = _ROUNDED if network.quantized else 1e-3
    if logits.min() >= 0 and any(np.allclose(logits.sum(axis=1), total, rtol=apart) for total in _TOTALS):
        raise DataError(f"{network.path}: gives probabilities, wanted logits; export it without its last activation")
    within = logits.min() >= 0 and logits.max() <= 1
    if within and network.activation is None and (left := left_activation(network.model)):
        raise DataError(
            f"{network.path}: gives scores between 0 and 1 that follow from its {left}, which can't be cut off there; "
            "export it without its last activation"
        )


def _activated(logits: NDArray[np.float32], scores: str) -> NDArray[np.floating]:
    if scores == "sigmoid":
        return np.asarray(1 / (1 + np.exp(-logits.astype(np.float64))))
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _input_of(network: _Network, batch: NDArray[np.uint8], normalization: Normalization) -> NDArray[np.generic]:
    """The file's input for RGB pixels, normalised here, apart from the graph and the runtime."""
    values: NDArray[Any] = batch
    if network.input.kind != "uint8":
        values = ((batch / 255.0 - normalization.mean) / normalization.std).astype(np.float32)
    if normalization.channels == "bgr":
        values = values[..., ::-1]
    if network.input.layout == "NCHW":
        values = values.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(values)


def _own_logits(network: _Network, batch: NDArray[np.uint8], normalization: Normalization) -> NDArray[np.float32]:
    """The file's own logits in ONNX Runtime; in float32, checked against its own float type where that is another.

    Raises DataError where they differ by more than the file's type explains.
    """
    values = _input_of(network, batch, normalization)
    logits = _run(network, network.session, values)
    if network.own is None:
        return logits
    own = _run(network, network.own, values)
    tolerances = TOLERANCES["fp16" if "float16" in network.floats else "fp32"]
    verdict, reasons = verdict_of(compare(own, logits, tolerances), tolerances)
    if verdict == "fail" and np.isfinite(logits).all():
        raise DataError(
            f"{network.path}: its logits in float32 differ from those in its own {_words(network.floats)}: "
            f"{'; '.join(reasons)}; export it again in float32"
        )
    return logits


def _run(network: _Network, session: Any, values: NDArray[np.generic]) -> NDArray[np.float32]:
    """(N, classes) float32 outputs, batch by batch as its input is fixed to."""
    entry = session.get_inputs()[0]
    kinds = {"tensor(float16)": np.float16, "tensor(double)": np.float64, "tensor(uint8)": np.uint8}
    fixed = network.input.batch
    size = fixed or 8
    padding = np.repeat(values[-1:], -len(values) % size if fixed else 0, axis=0)
    padded = np.concatenate([values, padding]).astype(kinds.get(entry.type, np.float32))
    try:
        chunks = [session.run(None, {entry.name: padded[i : i + size]})[0] for i in range(0, len(padded), size)]
    except Exception as error:  # onnxruntime's own exceptions share no narrower base
        what = f"a batch of {size}" if fixed else "a batch of more than one image, which its input allows"
        raise DataError(f"{network.path}: can't run {what} ({one_line(error)})") from error
    joined = np.concatenate([np.atleast_1d(chunk) for chunk in chunks])[: len(values)].astype(np.float32)
    sides = joined.shape[1:]
    return joined.reshape(len(joined), -1) if len([side for side in sides if side != 1]) == 1 else joined
