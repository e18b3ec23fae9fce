"""What a target keeps: it writes the engine's files into a folder and says in what they are stored and computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from edgeclf_export.exportable import Exportable
from edgeclf_runtime.manifest import Precision


@dataclass(frozen=True)
class Hub:
    """A classifier and its ONNX file, which is made when the first target asks for it and shared by all of a call."""

    exportable: Exportable
    form: str
    opset: int

    @cached_property
    def onnx(self) -> bytes:
        return self.exportable.make_onnx(self.form, self.opset)


@dataclass(frozen=True, slots=True)
class Built:
    """Stored and computed precision are two facts: OpenVINO's fp16 computes in bf16 on some CPUs."""

    weights_precision: Precision
    compute_precision: Precision


@dataclass(frozen=True, slots=True)
class Target:
    """An engine's name (the runtime has a backend of that name), the precisions it offers, how to build for it."""

    name: str
    precisions: tuple[str, ...]
    build: Callable[[Hub, str, Path], Built]
