"""The network and the calibration images of one export, and what is measured on them, once for all targets."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from edgeclf_export.quantize import sensitivity
from edgeclf_export.quantize.activation_ranges import Activations, observe
from edgeclf_export.quantize.bias_correction import correct_biases
from edgeclf_export.quantize.calibration import CalibrationImages
from edgeclf_export.targets.quantizer import Ranges
from edgeclf_export.targets.target import ExportGraph
from edgeclf_runtime.bundle.manifest import to_input
from edgeclf_runtime.bundle.quantization_report import Sensitivity


@dataclass(frozen=True)
class CalibratedNetwork:
    """What quantizers take (`Network`), and the sensitivity of the network's layers."""

    export_graph: ExportGraph
    calibration: CalibrationImages

    @cached_property
    def inputs(self) -> NDArray[np.generic]:
        """The calibration images as the graph takes them."""
        return to_input(
            self.calibration.pixels, self.export_graph.exportable.contract(self.export_graph.form).normalization
        )

    @property
    def multi_label(self) -> bool:
        """Whether an image may have several labels, so that each logit is a question of its own."""
        return self.export_graph.exportable.contract(self.export_graph.form).multi_label

    @cached_property
    def activations(self) -> Activations:
        return observe(self.export_graph.onnx, self.inputs)

    @cached_property
    def sensitivities(self) -> tuple[Sensitivity, ...]:
        ranges = self.activations.ranges("min-max")
        return sensitivity.measure(self.export_graph.onnx, ranges, self.inputs, multi_label=self.multi_label)

    def ranges(self, method: str) -> Ranges:
        return self.activations.ranges(method)  # type: ignore[arg-type]

    def with_biases_corrected(self, quantized: bytes) -> bytes:
        return correct_biases(self.export_graph.onnx, quantized, self.inputs)
