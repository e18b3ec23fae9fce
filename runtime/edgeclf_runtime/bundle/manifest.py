"""Schema 1 of `manifest.json`: what a bundle is, what it promises and where it comes from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.bundle.dataclass_json import from_json, parse_json, to_json
from edgeclf_runtime.bundle.feature_info import FeatureInfo
from edgeclf_runtime.bundle.golden import Golden, OwnOutputs
from edgeclf_runtime.bundle.proof import Proof, Tolerances
from edgeclf_runtime.bundle.quantization_report import Ladder
from edgeclf_runtime.bundle.teacher_info import TeacherInfo
from edgeclf_runtime.errors import BundleError, DataError
from edgeclf_runtime.images.pixels import Pixels
from edgeclf_runtime.json_fields import LATER
from edgeclf_runtime.metrics.energy import EnergyThreshold
from edgeclf_runtime.metrics.similarity import SimilarityThreshold
from edgeclf_runtime.metrics.temperature_fit import TemperatureFit
from edgeclf_runtime.portable_paths import stays_inside

SCHEMA = 1
_OWN_HASH = "manifest_sha256"

Task = Literal["classify", "embed-image", "embed-text"]
Precision = Literal["fp32", "fp16", "bf16", "int8", "mixed"]
PRECISIONS: tuple[str, ...] = get_args(Precision)
State = Literal["portable", "built"]
ScoreKind = Literal["softmax", "sigmoid", "margin"]


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
        if not self.shape or any(isinstance(size, int) and size < 1 for size in self.shape):
            raise ValueError(f"a batch of at least one number was wanted, found the shape {self.shape}")

    @property
    def fixed_batch(self) -> int | None:
        """The batch that the graph was fixed to; None: any."""
        return self.shape[0] if isinstance(self.shape[0], int) else None


@dataclass(frozen=True, slots=True)
class Normalization:
    """(pixel / 255 - mean) / std per channel.

    Attributes
    ----------
    mean, std
        Of red, green and blue, in units of 0..1.
    applied_by
        "graph": in the model's first layer, which takes uint8 pixels; "caller": the model takes normalised floats.
    channels
        The order in which the network takes the colours.

    Raises
    ------
    ValueError
        A standard deviation that is not above 0.

    Examples
    --------
    >>> from edgeclf_runtime import Normalization
    >>> Normalization(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)).applied_by
    'graph'
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    applied_by: Literal["graph", "caller"] = "graph"
    channels: Literal["rgb", "bgr"] = "rgb"

    def __post_init__(self) -> None:
        if not min(self.std) > 0:
            raise ValueError(f"std must be above 0, found {self.std}")


def to_input(batch: NDArray[np.uint8], normalization: Normalization | None) -> NDArray[np.generic]:
    """RGB pixels as the graph's input: as they are, or normalised (N, 3, H, W) float32 where that is the caller's."""
    if normalization is None or normalization.applied_by == "graph":
        return batch
    mean, std = (np.asarray(v, dtype=np.float32) for v in (normalization.mean, normalization.std))
    scaled = (batch.astype(np.float32) / np.float32(255) - mean) / std
    if normalization.channels == "bgr":
        scaled = scaled[..., ::-1]
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Below the score `unknown_below` the label is "unknown"; `per_class` requires more of single classes.

    Where an image may have several labels, `per_class` are the probabilities from which on each label is predicted, and
    only `energy` and `features` make an image "unknown".

    `energy` and `features` apart from both: they find images that are like none of any class, by the logits and by how
    similar the features are to a class's.
    """

    unknown_below: float | None = None
    per_class: tuple[float, ...] | None = None
    energy: EnergyThreshold | None = None
    features: SimilarityThreshold | None = None

    @property
    def given(self) -> bool:
        """Whether a prediction can be "unknown" at all."""
        return any(each is not None for each in (self.unknown_below, self.per_class, self.energy, self.features))

    def __str__(self) -> str:
        """ "unknown below 0.62 and 0.31 to 0.88 by class and energy 2.1 (…)"; empty where there are none."""
        parts = [] if self.unknown_below is None else [f"{self.unknown_below:.3g}"]
        if self.per_class is not None:
            low, high = f"{min(self.per_class):.3g}", f"{max(self.per_class):.3g}"
            parts.append(f"{low} for each class" if low == high else f"{low} to {high} by class")
        if self.energy is not None:
            parts.append(str(self.energy))
        if self.features is not None:
            parts.append(str(self.features))
        return f"unknown below {' and '.join(parts)}" if parts else ""


@dataclass(frozen=True, slots=True)
class Prompts:
    """What the words of a zero-shot classifier are: each label in place of the {} of each template.

    `source` names the templates; `sha256` is of all prompts. Logits are `logit_scale` times cosine plus `logit_bias`
    (SigLIP's; None: none), both in the graph.
    """

    templates: tuple[str, ...]
    source: str
    sha256: str
    logit_scale: float
    logit_bias: float | None = None


@dataclass(frozen=True, slots=True)
class Reference:
    """What the bundle was compared with: its kind ("pytorch", "onnx") and an id that names its weights."""

    kind: str
    id: str


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where the model comes from. `weights` names a model hub's tag, a file with its hash, a package, or "random".

    `teacher`: None where it was trained without one, or in bundles of before teachers were recorded.
    `test_uses`: ids of the uses of the test split of `data_sha256` that were known when the bundle was made.
    """

    backbone: str
    weights: str
    created_utc: str
    versions: dict[str, str]
    run: str | None = None
    training_seconds: float | None = None
    data_sha256: str | None = None
    test_uses: tuple[str, ...] = ()
    teacher: TeacherInfo | None = None


@dataclass(frozen=True, slots=True)
class Calibration:
    """The images that INT8 ranges were measured on."""

    method: str
    images: int
    images_sha256: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """Another model of the same classifier in the bundle, which `build` may choose on the device.

    Its files lie under candidates/`folder`/, named as the target's own; so do those that `own` names. `energy`: its own
    threshold; None: the bundle's.
    """

    name: str
    folder: str
    weights_precision: Precision
    compute_precision: Precision
    tolerances: Tolerances
    temperature: float
    shares: dict[str, float] | None
    calibration: Calibration | None
    own: OwnOutputs | None = None
    temperature_fit: TemperatureFit | None = None
    energy: EnergyThreshold | None = None


@dataclass(frozen=True, slots=True)
class FileEntry:
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """All that a device needs to know of a bundle. Labels are in the order of the output's classes.

    `checks`: a sentence for each thing that was tried on it beside the proof, or could not be. `own`: None in bundles
    that were made before they kept their own outputs. `temperature_fit`: None where no images fitted a temperature.
    `features`: of a bundle whose second output are features; None: it has one output. `multi_label`: an image may have
    several labels, or none: each is predicted from its own threshold on. Else one class is predicted, whatever the
    scores are.
    """

    schema: int = SCHEMA
    task: Task
    state: State
    target: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    labels: tuple[str, ...]
    scores: ScoreKind
    pixels: Pixels | None
    normalization: Normalization | None
    weights_precision: Precision
    compute_precision: Precision
    tolerances: Tolerances
    provenance: Provenance
    reference: Reference
    golden: Golden
    temperature: float = 1.0
    temperature_fit: TemperatureFit | None = None
    thresholds: Thresholds = Thresholds()
    prompts: Prompts | None = None
    calibration: Calibration | None = None
    proof: Proof | None = None
    checks: tuple[str, ...] = ()
    shares: dict[str, float] | None = None
    ladder: Ladder | None = None
    candidates: tuple[Candidate, ...] = ()
    own: OwnOutputs | None = None
    built_on: dict[str, str] | None = None
    derived_from: str | None = None
    features: FeatureInfo | None = None
    files: dict[str, FileEntry] = field(default_factory=dict)
    multi_label: bool = field(default=False, metadata=LATER)

    def __post_init__(self) -> None:
        if not self.inputs or not self.outputs:
            raise ValueError("a graph has at least one input and one output")
        if self.task == "classify":
            if len(set(self.labels)) != len(self.labels):
                raise ValueError("labels repeat; each class needs a name of its own")
            classes = self.outputs[0].shape[-1]
            if classes != len(self.labels):
                raise ValueError(f"{len(self.labels)} labels for {classes} classes")
            per_class = self.thresholds.per_class
            if per_class is not None and len(per_class) != len(self.labels):
                raise ValueError(f"{len(per_class)} thresholds for {len(self.labels)} labels")
        if self.multi_label:
            self._check_multi_label()
        if not self.temperature > 0:
            raise ValueError(f"temperature must be above 0, found {self.temperature}")
        for path in self.files:
            check_member_path(path)

    def _check_multi_label(self) -> None:
        if (self.task, self.scores) != ("classify", "sigmoid"):
            raise ValueError(f"several labels an image need sigmoid scores, found {self.scores} ({self.task})")
        given, least = self.thresholds, self.thresholds.per_class
        if least is None or not all(0 <= each <= 1 for each in least):
            raise ValueError("several labels an image need a threshold of 0 to 1 for each label")
        if given.unknown_below is not None:
            raise ValueError('where an image may have several labels, no score makes it "unknown": it may have none')

    @property
    def label_logits(self) -> NDArray[np.float64] | None:
        """(classes,) the logit from which on each label is predicted; None: an image has one."""
        return label_logits(self.thresholds.per_class or (), self.temperature) if self.multi_label else None

    @property
    def thresholds_in_words(self) -> str:
        """ "unknown below 0.62", "several labels an image, each predicted from 0.5"; empty where there are none."""
        if not self.multi_label or self.thresholds.per_class is None:
            return str(self.thresholds)
        low, high = min(self.thresholds.per_class), max(self.thresholds.per_class)
        span = f"{low:.3g} to {high:.3g}" if f"{low:.3g}" != f"{high:.3g}" else f"all about {low:.3g}"
        each = f"predicted from {low:.3g}" if low == high else f"with a threshold of its own, {span}"
        unknown = str(replace(self.thresholds, per_class=None))
        return f"several labels an image, each {each}" + (f"; {unknown}" if unknown else "")

    @property
    def subject(self) -> str:
        """SHA-256 of all that a proof inside the manifest is about: not the proof, its machine, or uses of test images.

        A field that is added later has to be left out where it holds its default, or the proofs of older bundles would
        be of another manifest.
        """
        content = replace(self, proof=None, built_on=None)._content()
        del content["provenance"]["test_uses"]
        for part in (content, *content["candidates"]):
            if part["temperature_fit"] is None:
                del part["temperature_fit"]
        for part in (content["thresholds"], *content["candidates"]):
            if part["energy"] is None:
                del part["energy"]
        return _content_sha256(content)

    def to_bytes(self) -> bytes:
        content = self._content()
        content = {**content, _OWN_HASH: _content_sha256(content)}
        return (json.dumps(content, indent=1, ensure_ascii=True, allow_nan=False) + "\n").encode()

    def _content(self) -> dict[str, Any]:
        """As JSON; without a teacher or features nothing is said of them, so that versions without them read it."""
        content: dict[str, Any] = to_json(self)
        for part, name in (
            (content["provenance"], "teacher"),
            (content, "features"),
            (content["thresholds"], "features"),
        ):
            if part[name] is None:
                del part[name]
        return content


def label_logits(probabilities: Sequence[float], temperature: float) -> NDArray[np.float64]:
    """(classes,) the logits whose sigmoids are these thresholds, at this temperature."""
    least = np.asarray(probabilities, dtype=np.float64)
    with np.errstate(divide="ignore"):  # a label of threshold 0 is always predicted
        return np.asarray(temperature * (np.log(least) - np.log1p(-least)))


def parse_manifest(data: bytes, where: str) -> Manifest:
    """The manifest in `data`; raises BundleError for damage, and for a schema newer than this version reads."""
    try:
        content: Any = parse_json(data)
    except ValueError as error:
        raise BundleError(f"{where}: not JSON ({error}); the bundle is damaged, copy it again") from error
    if not isinstance(content, dict) or type(content.get("schema")) is not int:
        raise BundleError(f"{where}: no edgeclf manifest (it has no schema number)")
    if content["schema"] != SCHEMA:
        advice = "update edgeclf" if content["schema"] > SCHEMA else "export the bundle again"
        raise BundleError(f"{where}: schema {content['schema']}, this edgeclf reads schema {SCHEMA}; {advice}")
    own_hash = content.pop(_OWN_HASH, None)
    try:
        changed = own_hash is not None and own_hash != _content_sha256(content)
    except RecursionError as error:  # parsed just so, but too deep to be written
        raise BundleError(f"{where}: nested too deeply; the bundle is damaged, copy it again") from error
    if changed:
        raise BundleError(f"{where}: changed since the export (its own SHA-256 differs); copy the bundle again")
    try:
        return from_json(Manifest, content, where)
    except DataError as error:
        raise BundleError(str(error)) from error


def _content_sha256(content: dict[str, Any]) -> str:
    """Of the content, not of its layout: sorted keys, no spaces. Finds a flipped bit that leaves valid JSON."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def check_member_path(path: str) -> None:
    """Raises ValueError unless `path` stays inside the bundle on every system: relative, forward slashes, no '..'."""
    parts = PurePosixPath(path).parts
    plain = bool(parts) and path == "/".join(parts) and "\\" not in path
    if not plain or not stays_inside(path, PurePosixPath) or not stays_inside(path, PureWindowsPath):
        raise ValueError(f"the path {path!r} does not stay inside the bundle")
