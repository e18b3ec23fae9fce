"""What the exporter takes: a classifier or an encoder from any source, with all that its bundles have to record."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from edgeclf_export.graph.onnx_graph import EMBEDDINGS_NAME, INPUT_NAME, OUTPUT_NAME, TOKENS_NAME
from edgeclf_runtime.backends.torch_module import Builder
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.manifest import Normalization, Prompts, Reference, Task, TensorSpec, Thresholds
from edgeclf_runtime.bundle.teacher_info import TeacherInfo
from edgeclf_runtime.errors import UsageError
from edgeclf_runtime.images.data_split import LabelledData
from edgeclf_runtime.images.pixels import Pixels
from edgeclf_runtime.metrics.multilabel import THRESHOLD
from edgeclf_runtime.metrics.temperature_fit import TemperatureFit
from edgeclf_runtime.text.tokenizer import TokenizerTables

if TYPE_CHECKING:
    import torch

InputForm = Literal["uint8-nhwc", "float-nchw"]


@dataclass(frozen=True, slots=True)
class Training:
    """What a bundle records about the training of its weights, and what was fitted on the validation images.

    `test_uses` and `teacher` as in the manifest's provenance.
    """

    run: str
    seconds: float
    data_sha256: str
    temperature: float = 1.0
    thresholds: Thresholds = Thresholds()
    temperature_fit: TemperatureFit | None = None
    test_uses: tuple[str, ...] = ()
    teacher: TeacherInfo | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """What a bundle promises to its caller, whatever engine runs it: the manifest's fields of these names."""

    task: Task
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    labels: tuple[str, ...] = ()
    scores: Literal["softmax", "sigmoid"] = "softmax"
    multi_label: bool = False
    pixels: Pixels | None = None
    normalization: Normalization | None = None
    prompts: Prompts | None = None


@dataclass(frozen=True)
class Exportable:
    """A classifier, or an encoder of images, on its way into bundles.

    Attributes
    ----------
    backbone, weights
        For the manifest's provenance: the architecture, and where its weights come from.
    reference, run_reference
        What bundles are compared with, and its outputs: (N, H, W, 3) uint8 pixels -> (N, classes) float32 logits.
    run_stand_in
        What stands in for `run_reference` on images that int8 is evaluated on, where the reference's outputs are known
        for the proof images alone; None: the reference itself runs on any images.
    quantized
        Of an ONNX file that is quantized already, and taken as it is: a sentence for each limit of what is known about
        it. Empty: a float network.
    run_features
        The reference's features, which its head takes: (N, H, W, 3) uint8 pixels -> (N, width) float32; raises
        UsageError for one without a linear head. None: the classifier came without its module.
    make_onnx
        (input form, opset) -> the classifier as one ONNX file (bytes), which all engines' models are made from.
    make_module
        The torch module that `make_onnx` takes with this input form, for targets that are not made from the ONNX graph;
        None: the classifier came without one.
    batch
        The number of images that the ONNX file is fixed to; None: any.
    builder, state
        For the pytorch target: how to build the architecture again, and its weights; None where that is not possible.
    pixel_reference
        The library's own evaluation transform, RGB image -> (H, W, 3) uint8, to check the Pixels against; or None.
    multi_label, label_thresholds
        Whether an image may have several labels, or none; scores are "sigmoid" then. The probabilities from which on
        each is predicted, where no training or bundle brings them; None: one half.
    embedding_width
        Of an encoder, which has no labels: the length of an embedding.
    prompts
        Of a zero-shot classifier: the templates that its words were put into.
    training, proof_files
        Of a run: what its bundles record about it, and its validation images, to prove on. Empty: shipped photographs.
    data
        Of a run: its labelled images, split by split, for int8.
    parent
        The bundle that it was read from, whose provenance, temperature and thresholds stay; None: there is none.
    notes
        What was decided while it was loaded, a sentence each, for the user.
    pixels_from
        Where `pixels` and `normalization` come from, for the user; empty: they came with the classifier.
    """

    backbone: str
    weights: str
    labels: tuple[str, ...]
    pixels: Pixels
    normalization: Normalization
    reference: Reference
    run_reference: Callable[[NDArray[np.uint8]], NDArray[np.float32]]
    make_onnx: Callable[[str, int], bytes]
    run_stand_in: Callable[[NDArray[np.uint8]], NDArray[np.float32]] | None = None
    run_features: Callable[[NDArray[np.uint8]], NDArray[np.float32]] | None = None
    quantized: tuple[str, ...] = ()
    make_module: Callable[[str], torch.nn.Module] | None = None
    batch: int | None = None
    builder: Builder | None = None
    state: dict[str, torch.Tensor] | None = None
    pixel_reference: Callable[..., NDArray[np.uint8]] | None = None
    scores: Literal["softmax", "sigmoid"] = "softmax"
    multi_label: bool = False
    label_thresholds: tuple[float, ...] | None = None
    embedding_width: int | None = None
    prompts: Prompts | None = None
    training: Training | None = None
    proof_files: tuple[Path, ...] = ()
    data: LabelledData | None = None
    parent: Bundle | None = None
    notes: tuple[str, ...] = ()
    pixels_from: str = ""

    def run_on_any(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The reference's logits, or its stand-in's, for images that need not be the proof's."""
        return (self.run_stand_in or self.run_reference)(pixels)

    @property
    def answer(self) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
        """Former name of `run_reference`."""
        warnings.warn("Exportable.answer is now Exportable.run_reference", DeprecationWarning, stacklevel=2)
        return self.run_reference

    @property
    def thresholds(self) -> Thresholds:
        """Those of its training, or of the bundle it comes from; else each of several labels has one half."""
        given = self.training.thresholds if self.training else Thresholds()
        if self.parent is not None:
            given = replace(self.parent.manifest.thresholds, features=None)
        if not self.multi_label or given.per_class is not None:
            return given
        return Thresholds(per_class=self.label_thresholds or (THRESHOLD,) * len(self.labels))

    @property
    def temperature(self) -> float:
        """Of its training, or of the bundle it comes from; else 1."""
        if self.parent is not None:
            return self.parent.manifest.temperature
        return self.training.temperature if self.training else 1.0

    @property
    def name(self) -> str:
        """What its bundles are named after: the bundle that it came from, the run, or the backbone."""
        if self.parent is not None:
            manifest = self.parent.manifest
            return self.parent.name.removesuffix(f"-{manifest.target}-{manifest.weights_precision}")
        return self.training.run if self.training else self.backbone

    def contract(self, form: str, fixed_batch: int | None = None) -> Contract:
        """What its bundles promise with this input form, where the model file is fixed to a batch or is not."""
        height, width = self.pixels.crop_px
        batch: str | int = fixed_batch or self.batch or "batch"
        if form == "uint8-nhwc":
            entry = TensorSpec(INPUT_NAME, "uint8", "NHWC", (batch, height, width, 3))
        else:
            entry = TensorSpec(INPUT_NAME, "float32", "NCHW", (batch, 3, height, width))
        name = OUTPUT_NAME if self.embedding_width is None else EMBEDDINGS_NAME
        return Contract(
            task="classify" if self.embedding_width is None else "embed-image",
            inputs=(entry,),
            outputs=(TensorSpec(name, "float32", "NC", (batch, self.embedding_width or len(self.labels))),),
            labels=self.labels,
            scores=self.scores,
            multi_label=self.multi_label,
            pixels=self.pixels,
            normalization=replace(self.normalization, applied_by="graph" if form == "uint8-nhwc" else "caller"),
            prompts=self.prompts,
        )

    def __post_init__(self) -> None:
        if self.embedding_width is not None:
            return
        if not self.labels:
            raise UsageError("no labels; give the name of each class, in order")
        if repeated := [label for label, count in Counter(self.labels).items() if count > 1]:
            raise UsageError(f"the label {repeated[0]!r} occurs more than once; each class needs a name of its own")


@dataclass(frozen=True)
class TextExportable:
    """An encoder of texts on its way into bundles. Its attributes are `Exportable`'s, without those about images.

    Attributes
    ----------
    run_reference
        The reference's outputs: (N, context) int32 tokens -> (N, width) float32 embeddings.
    tokenizer
        What turns texts into tokens on the device.
    """

    backbone: str
    weights: str
    name: str
    embedding_width: int
    tokenizer: TokenizerTables
    reference: Reference
    run_reference: Callable[[NDArray[np.int32]], NDArray[np.float32]]
    make_onnx: Callable[[str, int], bytes]
    make_module: Callable[[str], torch.nn.Module] | None = None
    batch: int | None = None
    builder: Builder | None = None
    state: dict[str, torch.Tensor] | None = None
    training: Training | None = None
    parent: Bundle | None = None

    def contract(self, form: str, fixed_batch: int | None = None) -> Contract:
        """What its bundles promise; the input form matters for images only."""
        batch: str | int = fixed_batch or self.batch or "batch"
        return Contract(
            task="embed-text",
            inputs=(TensorSpec(TOKENS_NAME, "int32", "NL", (batch, self.tokenizer.context_length)),),
            outputs=(TensorSpec(EMBEDDINGS_NAME, "float32", "NC", (batch, self.embedding_width)),),
        )


AnyExportable = Exportable | TextExportable
