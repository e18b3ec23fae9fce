"""Exports the network of patch_network.py in int8."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeclf_export.exportable import Exportable
from edgeclf_export.exporter import export
from edgeclf_export.options import ExportOptions
from edgeclf_export.quantize.calibration_data import Int8Options
from edgeclf_runtime.bundle.quantization_report import AccuracyGate

Quantize = Callable[..., list[Any]]


@pytest.fixture
def quantize(trained: Exportable, tmp_path: Path) -> Quantize:
    """Exports the trained network with a gate that so few images can pass."""

    def quantize(target: str, precision: str = "int8", points: float = 5.0, **changes: Any) -> list[Any]:
        settings = Int8Options(gate=AccuracyGate(points), **changes)
        options = ExportOptions((target,), precision, output=tmp_path, name="patches", int8=settings)
        return list(export(trained, options))

    return quantize
