"""Schema 1 of `manifest.json`: what a bundle is, what it promises and where it comes from."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal, get_args

from edgeclf_runtime.errors import BundleError, DataError
from edgeclf_runtime.pixels import Pixels
from edgeclf_runtime.proof import Proof, Tolerances
from edgeclf_runtime.records import from_json, to_json

SCHEMA = 1

Task = Literal["classify", "embed-image", "embed-text"]
Precision = Literal["fp32", "fp16", "bf16", "int8", "mixed"]
PRECISIONS: tuple[str, ...] = get_args(Precision)


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """An input or output of the graph. A dimension is a number, or the name of one that varies ("batch")."""

    name: str
    dtype: Literal["uint8", "float32", "float16", "int32", "int64"]
    layout: str
    shape: tuple[str | int, ...]

    def __post_init__(self) -> None:
        if len(self.layout) != len(self.shape):
            raise ValueError(f"layout {self.layout!r} does not fit the shape {self.shape}")

    @property
    def fixed_batch(self) -> int | None:
        """The batch that the graph was fixed to; None: any."""
        return self.shape[0] if isinstance(self.shape[0], int) else None


@dataclass(frozen=True, slots=True)
class Normalization:
    """(pixel / 255 - mean) / std per channel, in the graph's first layer or left to the caller (float inputs)."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    applied_by: Literal["graph", "caller"] = "graph"

    def __post_init__(self) -> None:
        if min(self.std) <= 0:
            raise ValueError(f"std must be above 0, found {self.std}")


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Below the probability `unknown_below` the answer is "unknown"; `per_class` asks more of single classes."""

    unknown_below: float | None = None
    per_class: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class GoldenImage:
    """A real image, the pixels it must become (lossless) and their hash: decoding and engine are judged apart."""

    image: str
    pixels: str
    pixels_sha256: str


@dataclass(frozen=True, slots=True)
class Golden:
    """Golden images and, in the .npy file `outputs`, the reference's answers to them in the same order."""

    images: tuple[GoldenImage, ...]
    outputs: str


@dataclass(frozen=True, slots=True)
class Reference:
    """What the bundle was compared with: its kind ("pytorch", "onnx") and an id that names its weights."""

    kind: str
    id: str


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where the model comes from. `weights` names a hub tag, a file with its hash, a package, or "random"."""

    backbone: str
    weights: str
    created_utc: str
    versions: dict[str, str]
    run: str | None = None
    training_seconds: float | None = None
    data_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Calibration:
    """The images that INT8 ranges were measured on."""

    method: str
    images: int
    images_sha256: str


@dataclass(frozen=True, slots=True)
class FileEntry:
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """All that a device needs to know of a bundle. Labels are in the order of the output's classes."""

    task: Task
    state: Literal["portable", "built"]
    target: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    labels: tuple[str, ...]
    scores: Literal["softmax", "sigmoid", "margin"]
    pixels: Pixels | None
    normalization: Normalization | None
    weights_precision: Precision
    compute_precision: Precision
    tolerances: Tolerances
    provenance: Provenance
    reference: Reference
    golden: Golden
    schema: int = SCHEMA
    temperature: float = 1.0
    thresholds: Thresholds = Thresholds()
    calibration: Calibration | None = None
    proof: Proof | None = None
    built_on: dict[str, str] | None = None
    derived_from: str | None = None
    files: dict[str, FileEntry] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.task == "classify":
            if len(set(self.labels)) != len(self.labels):
                raise ValueError("labels repeat; each class needs a name of its own")
            classes = self.outputs[0].shape[-1]
            if classes != len(self.labels):
                raise ValueError(f"{len(self.labels)} labels for {classes} classes")
        if self.temperature <= 0:
            raise ValueError(f"temperature must be above 0, found {self.temperature}")
        for path in self.files:
            check_member_path(path)

    def to_bytes(self) -> bytes:
        return (json.dumps(to_json(self), indent=1, ensure_ascii=True, allow_nan=False) + "\n").encode()


def parse_manifest(data: bytes, where: str) -> Manifest:
    """The manifest in `data`; raises BundleError for damage, and for a schema newer than this version reads."""
    try:
        content: Any = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{where}: not JSON ({error}); the bundle is damaged, copy it again") from error
    if not isinstance(content, dict) or type(content.get("schema")) is not int:
        raise BundleError(f"{where}: no edgeclf manifest (it has no schema number)")
    if content["schema"] != SCHEMA:
        advice = "update edgeclf" if content["schema"] > SCHEMA else "export the bundle again"
        raise BundleError(f"{where}: schema {content['schema']}, this edgeclf reads schema {SCHEMA}; {advice}")
    try:
        return from_json(Manifest, content, where)
    except DataError as error:
        raise BundleError(str(error)) from error


def check_member_path(path: str) -> None:
    """Raises ValueError unless `path` stays inside the bundle: relative, forward slashes, no '..'."""
    parts = PurePosixPath(path).parts
    if not parts or path != "/".join(parts) or path.startswith("/") or ".." in parts or "\\" in path or "\0" in path:
        raise ValueError(f"the path {path!r} does not stay inside the bundle")
