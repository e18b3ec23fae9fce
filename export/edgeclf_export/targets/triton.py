"""A bundle as a model in a Triton repository: the same file, its labels, a config with the device it was proven on.

The names are those of https://github.com/triton-inference-server/common/blob/main/protobuf/model_config.proto.
"""

from __future__ import annotations

from pathlib import Path

from edgeclf_export.targets.label_lines import LABELS, label_lines
from edgeclf_export.targets.registry import TARGETS
from edgeclf_export.targets.target import Served
from edgeclf_runtime.bundle.atomic_write import MANIFEST, writing
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.manifest import TensorSpec
from edgeclf_runtime.errors import UsageError

CONFIG, VERSION = "config.pbtxt", "1"
_TYPES = {
    "uint8": "TYPE_UINT8",
    "float32": "TYPE_FP32",
    "float16": "TYPE_FP16",
    "int32": "TYPE_INT32",
    "int64": "TYPE_INT64",
}


def check_served(target: str, state: str = "built") -> Served:
    """How Triton serves a target.

    Raises UsageError for one that it does not serve as it is, and for a portable bundle, which has no engine yet.
    """
    served = TARGETS[target].served if target in TARGETS else None
    if served is None:
        others = ", ".join(name for name, each in TARGETS.items() if each.served is not None)
        raise UsageError(f"Triton serves bundles for {others}, not for {target}; export one of those")
    if state == "portable":
        raise UsageError(
            f"Triton serves an engine of {target}, and a portable bundle has none: on the server, run `edgeclf build "
            "BUNDLE`, then `edgeclf export BUILT --layout triton`"
        )
    return served


def write_model(bundle: Bundle, repository: Path, max_batch: int, *, force: bool = False) -> Path:
    """Writes the model NAME into the repository, whole or not at all; returns its folder.

    Requests are batched up to `max_batch`; an engine has its own largest batch.

    Raises UsageError as `check_served` does, and where NAME exists and may not be replaced.
    """
    manifest = bundle.manifest
    served = check_served(manifest.target, manifest.state)
    place = repository / bundle.name
    largest = max_batch if served.largest_batch is None else served.largest_batch(bundle)
    with writing(place, force=force) as draft:
        (draft / VERSION).mkdir(parents=True)
        for name in served.files:
            (draft / VERSION / name).write_bytes(bundle.read(name))
        for name in served.beside:
            (draft / name).write_bytes(bundle.read(name))
        if manifest.labels:
            (draft / LABELS).write_text(label_lines(manifest.labels), encoding="utf-8")
        (draft / MANIFEST).write_bytes(bundle.manifest_bytes)
        (draft / CONFIG).write_text(config(bundle, served, largest), encoding="utf-8")
    return place


def config(bundle: Bundle, served: Served, max_batch: int) -> str:
    """The text of config.pbtxt."""
    manifest = bundle.manifest
    entry, exit_ = manifest.inputs[0], manifest.outputs[0]
    batches_requests = served.batches and entry.fixed_batch is None
    lines = [
        f"# {bundle.name}, written by edgeclf; SHA-256 of its manifest: {bundle.digest}",
        f"# {served.about}",
        f"# Input: {_about_input(entry)}",
        f"name: {_quoted(bundle.name)}",
        f"backend: {_quoted(served.backend)}",
        f"default_model_filename: {_quoted(served.files[0])}",
        f"max_batch_size: {max_batch if batches_requests else 0}",
        "input [",
        *_tensor(entry, batches_requests),
        "]",
        "output [",
        *_tensor(exit_, batches_requests, *([f"label_filename: {_quoted(LABELS)}"] if manifest.labels else [])),
        "]",
        f"instance_group [ {{ count: 1 kind: {served.kind} }} ]",
        *(["dynamic_batching { }"] if batches_requests and max_batch > 1 else []),
    ]
    return "\n".join(lines) + "\n"


def _about_input(entry: TensorSpec) -> str:
    if entry.dtype == "int32":
        return f"{entry.layout} tokens of a text, as the tokenizer of the bundle gives them"
    if entry.dtype == "uint8":
        return f"{entry.layout} RGB pixels, resized and cropped as {MANIFEST} says; normalisation is in the model"
    return f"{entry.layout} {entry.dtype}, resized, cropped and normalised as {MANIFEST} says"


def _tensor(spec: TensorSpec, batches_requests: bool, *more: str) -> list[str]:
    """The lines of a tensor. Where Triton batches requests, the batch is no dimension; else it is one."""
    sizes = [size if isinstance(size, int) else -1 for size in spec.shape]
    dims = ", ".join(map(str, sizes[1:] if batches_requests else sizes))
    parts = (f"name: {_quoted(spec.name)}", f"data_type: {_TYPES[spec.dtype]}", f"dims: [ {dims} ]", *more)
    return ["  {", *(f"    {part}" for part in parts), "  }"]


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
