"""The protocol of an engine's quantizer: the steps that it offers, and how it writes an int8 model of a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgeclf_export.targets.target import Built, ExportGraph

Ranges = Mapping[str, tuple[float, float]]  # of each float tensor of the ONNX graph: lowest and highest value


@dataclass(frozen=True, slots=True)
class Recipe:
    """One way to quantize: how ranges are set, whether biases are corrected, which ONNX nodes stay in float.

    `learned`: the network's weights learned through Q/DQ before, for so many minutes; 0: they did not.
    """

    ranges: str
    corrected: bool = False
    leave: tuple[str, ...] = ()
    learned: float = 0.0

    @property
    def name(self) -> str:
        parts = [f"int8 {self.ranges}", *(["bias"] if self.corrected else [])]
        parts += [f"{len(self.leave)} float"] if self.leave else []
        return " + ".join([*parts, *(["learned"] if self.learned else [])])

    @property
    def did(self) -> str:
        methods = {"min-max": "ranges from minimum to maximum", "percentile": "ranges that leave out the rarest values"}
        parts = [methods.get(self.ranges, "ranges of least squared error")]
        parts += ["biases corrected"] if self.corrected else []
        parts += [f"{len(self.leave)} most sensitive layers in float"] if self.leave else []
        parts += [f"weights learned through Q/DQ for {self.learned:g} min"] if self.learned else []
        return ", ".join(parts)


class Network(Protocol):
    """What a quantizer takes; everything on calibration images is measured once for all targets."""

    @property
    def export_graph(self) -> ExportGraph: ...
    @property
    def inputs(self) -> NDArray[np.generic]:
        """The calibration images as the graph takes them."""
        ...

    def ranges(self, method: str) -> Ranges:
        """Of every float tensor over the calibration images: by "min-max", "percentile" or "mse"."""
        ...

    def with_biases_corrected(self, quantized: bytes) -> bytes:
        """An ONNX graph with Q/DQ, with the mean shift by quantization subtracted from its biases."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantizer:
    """How an engine's int8 models are made.

    Attributes
    ----------
    methods
        The ways to set ranges, in the order to try.
    lower
        The precisions to fall back to; the first that the machine supports is taken.
    write
        Writes a recipe's model into a folder.
    needs
        Modules that it imports in addition to the engine's.
    corrects_biases, leaves_layers
        Whether it has those steps of the ladder.
    corrects_first
        Whether the first step has its biases corrected; not where that takes as long as steps without it.
    rest_in_bf16
        Whether the engine computes the same files with bf16 in the place of fp32, where the CPU has it.
    """

    methods: tuple[str, ...]
    lower: tuple[str, ...]
    write: Callable[[Network, Recipe, Path], Built]
    needs: tuple[str, ...] = ()
    corrects_biases: bool = True
    corrects_first: bool = True
    leaves_layers: bool = True
    rest_in_bf16: bool = False
