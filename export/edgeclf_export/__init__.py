"""A trained module becomes proven bundles: ONNX, OpenVINO, PyTorch, TensorRT."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeclf_runtime.lazy import offer

__version__: str

if TYPE_CHECKING:
    from edgeclf_export.exporter import Exported as Exported
    from edgeclf_export.exporter import ExportOptions as ExportOptions
    from edgeclf_export.exporter import export as export
    from edgeclf_export.exporter import export_module as export_module
else:
    __getattr__, __dir__ = offer(
        __name__,
        {
            "ExportOptions": "edgeclf_export.exporter",
            "Exported": "edgeclf_export.exporter",
            "export": "edgeclf_export.exporter",
            "export_module": "edgeclf_export.exporter",
        },
    )
