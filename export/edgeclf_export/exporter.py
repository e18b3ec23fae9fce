"""From a classifier to proven bundles: build each target, open it as a device would, compare, and only then publish."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgeclf_export.exportable import Exportable, InputForm
from edgeclf_export.hub import INPUT_NAME, NEWEST_OPSET, OLDEST_OPSET, OUTPUT_NAME
from edgeclf_export.modules import exportable_from_module
from edgeclf_export.photographs import ProofImages, load_proof_images
from edgeclf_export.targets import ort, ov, torch_module
from edgeclf_export.targets.target import Built, Hub, Target
from edgeclf_export.weights import digest_state
from edgeclf_runtime.bundle import Bundle
from edgeclf_runtime.engine import SessionOptions
from edgeclf_runtime.errors import GateError, UsageError
from edgeclf_runtime.images import decode
from edgeclf_runtime.machine import now_utc, package_version
from edgeclf_runtime.manifest import (
    Golden,
    GoldenImage,
    Manifest,
    Normalization,
    Precision,
    Provenance,
    Reference,
    TensorSpec,
)
from edgeclf_runtime.pixels import Pixels
from edgeclf_runtime.proof import TOLERANCES, Proof, Tolerances
from edgeclf_runtime.session import open_session
from edgeclf_runtime.verify import pixels_digest, prove, run_pixels
from edgeclf_runtime.writer import seal, writing

if TYPE_CHECKING:
    import torch

TARGETS = {
    "onnx": Target(("fp32", "fp16"), ort.build),
    "openvino": Target(("fp32", "fp16", "bf16"), ov.build),
    "pytorch": Target(("fp32", "fp16", "bf16"), torch_module.build),
}
_VERSIONED = ("edgeclf", "torch", "timm", "torchvision", "onnx", "onnxruntime", "openvino", "numpy", "pillow")


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What to make of a classifier.

    Attributes
    ----------
    output
        Folder that receives one bundle a target, named NAME-TARGET-PRECISION.
    form
        The graph's input: pixels ("uint8-nhwc"), or normalised floats for foreign consumers ("float-nchw").
    proof_data
        Folder of images to prove on; None: photographs that scikit-image and scikit-learn ship.
    """

    targets: tuple[str, ...] = ("onnx",)
    precision: str = "fp32"
    output: Path = Path("bundles")
    name: str | None = None
    form: str = "uint8-nhwc"
    opset: int = OLDEST_OPSET
    proof_data: Path | None = None
    force: bool = False

    def __post_init__(self) -> None:
        for target in self.targets:
            if target not in TARGETS:
                raise UsageError(f"no target {target!r}; choose one of {', '.join(TARGETS)}")
            if self.precision not in TARGETS[target].precisions:
                choice = ", ".join(TARGETS[target].precisions)
                raise UsageError(f"{target} has no precision {self.precision!r}; choose one of {choice}")
        if self.form not in get_args(InputForm):
            raise UsageError(f"no input form {self.form!r}; choose one of {', '.join(get_args(InputForm))}")
        if not OLDEST_OPSET <= self.opset <= NEWEST_OPSET:
            raise UsageError(f"opset must be {OLDEST_OPSET} to {NEWEST_OPSET} (what devices read), found {self.opset}")
        if self.name is not None and ("/" in self.name or self.name.startswith(".") or not self.name):
            raise UsageError(f"{self.name!r} can't name a folder; give --name letters, digits, '-' and '_'")


@dataclass(frozen=True, slots=True)
class Exported:
    """A published bundle and the proof that it carries."""

    path: Path
    bundle_bytes: int
    weights_precision: Precision
    proof: Proof


def export_module(
    module: torch.nn.Module,
    pixels: Pixels,
    labels: Sequence[str],
    options: ExportOptions = ExportOptions(),
    *,
    normalization: Normalization,
    name: str = "module",
) -> list[Exported]:
    """Exports your own module: (N, 3, H, W) normalised float32 -> (N, classes) logits. Raises as `export` does."""
    reference = Reference("pytorch", f"{name} {digest_state(module.state_dict())}")
    exportable = exportable_from_module(
        module,
        labels=tuple(labels),
        pixels=pixels,
        normalization=normalization,
        backbone=name,
        weights="module",
        reference=reference,
    )
    return list(export(exportable, options))


def export(
    exportable: Exportable, options: ExportOptions = ExportOptions(), report: Callable[[str], None] = lambda step: None
) -> Iterator[Exported]:
    """Yields a proven bundle for each target, as each is published; `report` is told what is being done.

    Raises
    ------
    UsageError
        An unknown target or precision, or an output that exists, before anything is made.
    GateError
        A bundle differs from its reference by more than its tolerances. It is kept aside as NAME.failed.
    """
    destinations = {target: _destination(exportable, options, target) for target in options.targets}
    for destination in destinations.values():
        if destination.exists() and not options.force:
            raise UsageError(f"{destination} exists; give --force to replace it, or another --output or --name")
    report("reading the proof images")
    images = load_proof_images(exportable.pixels, options.proof_data)
    _check_pixels(exportable, images)
    report("asking the reference")
    answers = exportable.answer(images.pixels)
    hub = Hub(exportable, options.form, options.opset)
    for target, destination in destinations.items():
        report(f"building {target} {options.precision}")
        with writing(destination, force=options.force) as draft:
            manifest, proof = _make(hub, target, options.precision, draft, images, answers)
            if proof.verdict == "fail":
                raise GateError(_keep_aside(draft, destination, proof))
            size = sum(file.stat().st_size for file in draft.rglob("*") if file.is_file())
        yield Exported(destination, size, manifest.weights_precision, proof)


def _destination(exportable: Exportable, options: ExportOptions, target: str) -> Path:
    name = options.name or exportable.backbone.rpartition("/")[2].removesuffix(".onnx")
    return options.output / f"{name}-{target}-{options.precision}"


def _check_pixels(exportable: Exportable, images: ProofImages) -> None:
    """The runtime's pixels against the library's own evaluation transform, bit for bit."""
    if exportable.pixel_reference is None:
        return
    for index in images.golden:
        wanted = exportable.pixel_reference(decode(images.files[index]).image)
        levels = int(np.abs(wanted.astype(np.int16) - images.pixels[index]).max())
        if levels:
            raise GateError(
                f"preprocessing: {images.files[index].name} comes out up to {levels} levels off the evaluation "
                f"transform of {exportable.backbone}; please report this backbone"
            )


def _make(
    hub: Hub,
    target: str,
    precision: str,
    draft: Path,
    images: ProofImages,
    answers: NDArray[np.float32],
) -> tuple[Manifest, Proof]:
    """Builds, seals and proves the bundle in `draft`; the proof is in its manifest."""
    draft.mkdir()
    built = TARGETS[target].build(hub, precision, draft)
    golden = _write_golden(draft / "golden", images, answers)
    manifest = _describe(hub, target, built, golden)
    seal(draft, manifest)
    with open_session(Bundle.open(draft), SessionOptions()) as session:
        proof = prove(
            manifest,
            run_pixels(session, manifest, images.pixels),
            reference=answers,
            decoding=[],
            images_source=images.source,
            images_sha256=images.sha256,
            session=session,
        )
    seal(draft, replace(manifest, proof=proof, built_on=proof.machine))
    return manifest, proof


def _describe(hub: Hub, target: str, built: Built, golden: Golden) -> Manifest:
    exportable = hub.exportable
    height, width = exportable.pixels.crop_px
    batch = _batch_of(hub, target)
    if hub.form == "uint8-nhwc":
        entry = TensorSpec(INPUT_NAME, "uint8", "NHWC", (batch, height, width, 3))
    else:
        entry = TensorSpec(INPUT_NAME, "float32", "NCHW", (batch, 3, height, width))
    return Manifest(
        task="classify",
        state="built",
        target=target,
        inputs=(entry,),
        outputs=(TensorSpec(OUTPUT_NAME, "float32", "NC", (batch, len(exportable.labels))),),
        labels=exportable.labels,
        scores=exportable.scores,
        pixels=exportable.pixels,
        normalization=replace(exportable.normalization, applied_by="graph" if hub.form == "uint8-nhwc" else "caller"),
        weights_precision=built.weights_precision,
        compute_precision=built.compute_precision,
        tolerances=_tolerances(built),
        provenance=Provenance(
            backbone=exportable.backbone,
            weights=exportable.weights,
            created_utc=now_utc(),
            versions={name: version for name in _VERSIONED if (version := package_version(name))},
        ),
        reference=exportable.reference,
        golden=golden,
    )


def _batch_of(hub: Hub, target: str) -> str | int:
    """ "batch", or the number that a foreign ONNX file was fixed to."""
    if target == "pytorch":
        return "batch"
    import onnx

    dimension = onnx.load_from_string(hub.onnx).graph.input[0].type.tensor_type.shape.dim[0]
    return dimension.dim_value if dimension.HasField("dim_value") else "batch"


def _tolerances(built: Built) -> Tolerances:
    """Those of the coarser of stored and computed precision."""
    return max((TOLERANCES[built.weights_precision], TOLERANCES[built.compute_precision]), key=lambda t: t.relative)


def _write_golden(folder: Path, images: ProofImages, answers: NDArray[np.float32]) -> Golden:
    """Image files as they are, their pixels as PNG, and the reference's answers to them."""
    folder.mkdir()
    items = []
    for number, index in enumerate(images.golden):
        file = images.files[index]
        image = f"golden/{number}{file.suffix.lower()}"
        pixels = f"golden/{number}_pixels.png"
        shutil.copyfile(file, folder.parent / image)
        Image.fromarray(images.pixels[index]).save(folder.parent / pixels, optimize=True)
        items.append(GoldenImage(image, pixels, pixels_digest(images.pixels[index])))
    outputs = "golden/outputs.npy"
    np.save(folder.parent / outputs, answers[list(images.golden)].astype(np.float32), allow_pickle=False)
    return Golden(tuple(items), outputs)


def _keep_aside(draft: Path, destination: Path, proof: Proof) -> str:
    aside = destination.with_name(f"{destination.name}.failed")
    with writing(aside, force=True) as kept:
        shutil.move(draft, kept)
    return f"{destination.name} is not its reference: {'; '.join(proof.reasons)}; kept aside as {aside}"
