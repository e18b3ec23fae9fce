"""What the exporter takes: a classifier, whatever it was made with, and all that its bundles must know of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from edgeclf_export.labelled import LabelledData
from edgeclf_runtime.backends.torch_module import Builder
from edgeclf_runtime.bundle import Bundle
from edgeclf_runtime.errors import UsageError
from edgeclf_runtime.manifest import Normalization, Reference, Thresholds
from edgeclf_runtime.pixels import Pixels

if TYPE_CHECKING:
    import torch

InputForm = Literal["uint8-nhwc", "float-nchw"]


@dataclass(frozen=True, slots=True)
class Training:
    """What a bundle tells of the training that its weights come from, and what was fitted on its validation images."""

    run: str
    seconds: float
    data_sha256: str
    temperature: float = 1.0
    thresholds: Thresholds = Thresholds()


@dataclass(frozen=True)
class Exportable:
    """A classifier on its way into bundles.

    Attributes
    ----------
    backbone, weights
        For the manifest's provenance: the architecture, and where its weights come from.
    reference, answer
        What bundles are compared with, and its answers: (N, H, W, 3) uint8 pixels -> (N, classes) float32 logits.
    make_onnx
        The classifier as one ONNX file (bytes) with the asked input form and opset: the hub for all engines.
    batch
        The number of pictures that the ONNX file is fixed to; None: any.
    builder, state
        For the pytorch target: how to build the architecture again, and its weights; None where nobody can.
    pixel_reference
        The library's own evaluation transform, RGB picture -> (H, W, 3) uint8, to prove the Pixels against; or None.
    training, proof_files
        Of a run: what its bundles tell of it, and its validation images, to prove on. Empty: shipped photographs.
    data
        Of a run: its labelled images, split by split, for int8.
    parent
        The bundle that it was read from, whose provenance, temperature and thresholds stay; None: there is none.
    """

    backbone: str
    weights: str
    labels: tuple[str, ...]
    pixels: Pixels
    normalization: Normalization
    reference: Reference
    answer: Callable[[NDArray[np.uint8]], NDArray[np.float32]]
    make_onnx: Callable[[str, int], bytes]
    batch: int | None = None
    builder: Builder | None = None
    state: dict[str, torch.Tensor] | None = None
    pixel_reference: Callable[..., NDArray[np.uint8]] | None = None
    scores: Literal["softmax", "sigmoid"] = "softmax"
    training: Training | None = None
    proof_files: tuple[Path, ...] = ()
    data: LabelledData | None = None
    parent: Bundle | None = None

    @property
    def name(self) -> str:
        """What its bundles are called: as the bundle that it came from, the run, or the backbone."""
        if self.parent is not None:
            manifest = self.parent.manifest
            return self.parent.name.removesuffix(f"-{manifest.target}-{manifest.weights_precision}")
        return self.training.run if self.training else self.backbone

    def __post_init__(self) -> None:
        if not self.labels:
            raise UsageError("no labels; give the name of each class, in order")
        if repeated := [label for label, count in Counter(self.labels).items() if count > 1]:
            raise UsageError(f"the label {repeated[0]!r} is there more than once; each class needs a name of its own")
