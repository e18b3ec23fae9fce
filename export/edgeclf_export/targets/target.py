"""What a target keeps: it writes the engine's files into a folder and says in what they are stored and computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from edgeclf_export.exportable import AnyExportable
from edgeclf_runtime.backends.tensorrt.builder import BuildSettings
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.manifest import Precision, State
from edgeclf_runtime.session import Session, open_session


@dataclass(frozen=True)
class Hub:
    """A classifier or encoder and its ONNX file, made when the first target asks for it, shared by all of a call."""

    exportable: AnyExportable
    form: str
    opset: int
    settings: BuildSettings = BuildSettings()

    @cached_property
    def onnx(self) -> bytes:
        return self.exportable.make_onnx(self.form, self.opset)


@dataclass(frozen=True, slots=True)
class Built:
    """Stored and computed precision are two facts: OpenVINO's fp16 computes in bf16 on some CPUs.

    `checks`: a sentence for each thing that was tried beside the proof, or could not be.
    """

    weights_precision: Precision
    compute_precision: Precision
    state: State = "built"
    checks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Target:
    """An engine's name (the runtime has a backend of that name), the precisions it offers, how to build for it.

    `open` gives the session that the proof runs: what a device opens, or where that can't be had here something less,
    and `proves` says what.
    """

    name: str
    precisions: tuple[str, ...]
    build: Callable[[Hub, str, Path], Built]
    open: Callable[[Bundle], Session] = open_session
    proves: str = ""
