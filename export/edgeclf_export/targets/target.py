"""Everything that the exporter knows about an engine: one `Target` object, at the end of the target's own file."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from edgeclf_export.exportable import AnyExportable
from edgeclf_runtime.backends.audit import Work, audit
from edgeclf_runtime.backends.tensorrt.builder import BuildSettings
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.manifest import Manifest, Precision, State
from edgeclf_runtime.deploy.build_result import Outcome
from edgeclf_runtime.progress import Progress
from edgeclf_runtime.session import Session, open_session

if TYPE_CHECKING:
    from edgeclf_export.targets.quantizer import Quantizer

T = TypeVar("T")


@dataclass(frozen=True)
class ExportGraph:
    """A classifier or encoder and its ONNX graph, made for the first target that needs it, shared by all of a call."""

    exportable: AnyExportable
    form: str
    opset: int
    settings: BuildSettings = BuildSettings()
    _made: dict[str, Any] = field(default_factory=dict, compare=False)

    @cached_property
    def onnx(self) -> bytes:
        return self.exportable.make_onnx(self.form, self.opset)

    def once(self, what: str, make: Callable[[], T]) -> T:
        """What `make` returned at the first call: a target's own work that every precision of it starts from."""
        if what not in self._made:
            self._made[what] = make()
        made: T = self._made[what]
        return made


@dataclass(frozen=True, slots=True)
class Built:
    """What a target wrote. Stored and computed precision may differ: OpenVINO's fp16 computes in bf16 on some CPUs.

    Attributes
    ----------
    checks
        A sentence for each check beside the proof, or why it was not possible.
    batch
        The number of images that the model file is fixed to, where the ONNX graph takes any; None: as in the graph.
    """

    weights_precision: Precision
    compute_precision: Precision
    state: State = "built"
    checks: tuple[str, ...] = ()
    batch: int | None = None


@dataclass(frozen=True, slots=True)
class OnDevice:
    """Of a target whose bundles are portable: how the engine is built on the machine that will run it.

    Attributes
    ----------
    engine
        Its name in messages.
    why_not_here
        A sentence with the reason why none can be built on this machine; None: one can.
    build_here
        (portable bundle, whether to replace what is there, progress) -> the engine in a bundle beside it.
    """

    engine: str
    why_not_here: Callable[[], str | None]
    build_here: Callable[[Path, bool, Progress], Outcome]


@dataclass(frozen=True, slots=True)
class Served:
    """How Triton serves a bundle.

    Attributes
    ----------
    backend, files, kind
        Triton's backend, the bundle's files that it loads, the default model first, and the instance group's kind.
    about
        A comment for readers of the config.
    batches
        Its backend takes any batch up to the largest, and batches requests.
    beside
        Files of the bundle that are copied beside the config.
    largest_batch
        Reads that of the bundle's engine; raises UsageError for one that Triton does not load. None: the caller's.
    """

    backend: str
    files: tuple[str, ...]
    kind: str
    about: str
    batches: bool = True
    beside: tuple[str, ...] = ()
    largest_batch: Callable[[Bundle], int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What bundles of an engine are made with. The runtime has a backend of the same name.

    Attributes
    ----------
    precisions
        Those that `build` writes; "int8" and "auto" come with a `quantizer`.
    build
        Writes the engine's files of a network in a precision into a folder.
    quantizer
        How its int8 models are made; None: it has none.
    audit
        The convolutions and products of a finished model, with the precision that the engine reports for them; None: it
        reports none.
    open, proves
        The session that the proof runs: as on a device, or where that is not possible here something in its place, and
        the sentence about what that proves.
    on_device
        Its bundles are portable, and this is how they become engines. None: they run as they are.
    served
        How Triton serves its bundles; None: it does not.
    needs_module
        It is made from the torch module, which an ONNX file does not have.
    checked_by
        Which target's fp32 model is compared with the reference before other precisions are made; None: its own.
    takes_quantized
        `build` writes a graph that is quantized already, as "int8".
    add_features
        (folder, width) gives the finished model in the folder its features as a second output, in its place. None: its
        models give logits alone.
    """

    name: str
    precisions: tuple[str, ...]
    build: Callable[[ExportGraph, str, Path], Built]
    quantizer: Quantizer | None = None
    audit: Callable[[Path, Manifest], Iterable[Work]] | None = None
    open: Callable[[Bundle], Session] = open_session
    proves: str = ""
    on_device: OnDevice | None = None
    served: Served | None = None
    needs_module: bool = False
    checked_by: Target | None = None
    takes_quantized: bool = False
    add_features: Callable[[Path, int], None] | None = None

    def shares(self, folder: Path, manifest: Manifest) -> dict[str, float] | None:
        """Share (0..1) of the MACs of convolutions and products by precision; None: this engine does not report it."""
        return None if self.audit is None else audit(self.audit(folder, manifest)).shares
