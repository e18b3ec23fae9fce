"""What quantizers work with: the network, calibration images, and what is measured on them, once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeclf_export.quantize import ort_ptq, ov_ptq, sensitivity, trt_ptq
from edgeclf_export.quantize.activation_ranges import Activations, observe
from edgeclf_export.quantize.bias_correction import correct_biases
from edgeclf_export.quantize.calibration import CalibrationImages
from edgeclf_export.targets.target import Built, Hub
from edgeclf_runtime.bundle.manifest import to_input
from edgeclf_runtime.bundle.quantization_report import Harm


@dataclass(frozen=True, slots=True)
class Recipe:
    """One way to quantize: how ranges are set, whether biases are corrected, which ONNX nodes stay in float."""

    ranges: str
    corrected: bool = False
    leave: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        parts = [f"int8 {self.ranges}", *(["bias"] if self.corrected else [])]
        return " + ".join([*parts, *([f"{len(self.leave)} float"] if self.leave else [])])

    @property
    def did(self) -> str:
        words = {"min-max": "ranges from minimum to maximum", "percentile": "ranges that leave out the rarest values"}
        parts = [words.get(self.ranges, "ranges of least squared error")]
        parts += ["biases corrected"] if self.corrected else []
        return ", ".join([*parts, *([f"{len(self.leave)} most sensitive layers in float"] if self.leave else [])])


@dataclass(frozen=True)
class Workbench:
    """The network and the images of one export; targets share it."""

    hub: Hub
    calibration: CalibrationImages

    @cached_property
    def inputs(self) -> NDArray[np.generic]:
        """The calibration images as the graph takes them."""
        return to_input(self.calibration.pixels, self.hub.exportable.contract(self.hub.form).normalization)

    @cached_property
    def activations(self) -> Activations:
        return observe(self.hub.onnx, self.inputs)

    @cached_property
    def harms(self) -> tuple[Harm, ...]:
        return sensitivity.measure(self.hub.onnx, self.activations.ranges("min-max"), self.inputs)


@dataclass(frozen=True, slots=True)
class Quantizer:
    """An engine's way: the ranges that it offers, in the order to try, and how it writes a recipe's model.

    `lower` is the precision to fall back to, the first that the machine has.
    """

    methods: tuple[str, ...]
    lower: tuple[str, ...]
    write: Callable[[Workbench, Recipe, Path], Built]


def _write_onnx(bench: Workbench, recipe: Recipe, folder: Path) -> Built:
    from edgeclf_runtime.backends.ort import MODEL

    ranges = bench.activations.ranges(recipe.ranges)  # type: ignore[arg-type]
    model = ort_ptq.quantize(bench.hub.onnx, ranges, leave=recipe.leave)
    if recipe.corrected:
        model = correct_biases(bench.hub.onnx, model, bench.inputs)
    (folder / MODEL).write_bytes(model)
    return Built("int8", "int8")


def _write_openvino(bench: Workbench, recipe: Recipe, folder: Path) -> Built:
    from edgeclf_export.targets.ov import save

    model = ov_ptq.quantize(bench.hub.onnx, bench.inputs, recipe.ranges, corrected=recipe.corrected, leave=recipe.leave)
    save(model, folder, compress=False)
    return Built("int8", "int8")


def _write_tensorrt(bench: Workbench, recipe: Recipe, folder: Path) -> Built:
    from edgeclf_export.targets.tensorrt.target import write

    ranges = bench.activations.ranges(recipe.ranges)  # type: ignore[arg-type]
    model = trt_ptq.quantize(bench.hub.onnx, ranges, leave=recipe.leave)
    if recipe.corrected:
        model = correct_biases(bench.hub.onnx, model, bench.inputs)
    return write(trt_ptq.rest_in_fp16(model), "int8", bench.hub.settings, folder)


QUANTIZERS = {
    "onnx": Quantizer(("min-max", "percentile", "mse"), ("fp16",), _write_onnx),
    "openvino": Quantizer(ov_ptq.METHODS, ("bf16", "fp16"), _write_openvino),
    "tensorrt": Quantizer(("min-max", "percentile", "mse"), ("fp16",), _write_tensorrt),
}
