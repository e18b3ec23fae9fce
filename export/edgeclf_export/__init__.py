"""A trained module becomes proven bundles: ONNX, OpenVINO, PyTorch, TensorRT."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeclf_runtime.lazy import offer

__version__: str

if TYPE_CHECKING:
    from edgeclf_export.exportable import Exportable as Exportable
    from edgeclf_export.exporter import Exported as Exported
    from edgeclf_export.exporter import export as export
    from edgeclf_export.exporter import export_module as export_module
    from edgeclf_export.options import ExportOptions as ExportOptions
    from edgeclf_export.quantize.calibration_data import Int8Options as Int8Options
    from edgeclf_export.sources.backbones import load_backbone as load_backbone
    from edgeclf_export.sources.onnx_file.exportable import load_onnx_classifier as load_onnx_classifier
else:
    __getattr__, __dir__ = offer(
        __name__,
        {
            "ExportOptions": "edgeclf_export.options",
            "Exportable": "edgeclf_export.exportable",
            "Exported": "edgeclf_export.exporter",
            "Int8Options": "edgeclf_export.quantize.calibration_data",
            "export": "edgeclf_export.exporter",
            "export_module": "edgeclf_export.exporter",
            "load_backbone": "edgeclf_export.sources.backbones",
            "load_onnx_classifier": "edgeclf_export.sources.onnx_file.exportable",
        },
    )
