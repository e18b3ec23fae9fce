"""From a classifier to proven bundles: build each target, open it as a device would, compare, and only then publish."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgeclf_export.exportable import AnyExportable, Exportable, TextExportable
from edgeclf_export.failures import Failed, TargetsFailed
from edgeclf_export.options import (
    ExportOptions,
    fallback_outputs,
    plan_outputs,
    refuse_for_quantized,
    refuse_int8_of_encoder,
    refuse_without_module,
)
from edgeclf_export.proof.bundling import build_bundle, check_in_fp32, keep_aside
from edgeclf_export.proof.features import feature_data
from edgeclf_export.proof.images import ProofImages, load_proof_images, proof_images_of
from edgeclf_export.proof.texts import ProofTexts, load_proof_texts
from edgeclf_export.quantize.calibration_data import assign_images
from edgeclf_export.quantize.export_quantized import PRECISIONS, Order, export_quantized
from edgeclf_export.sources.bundle import load_bundle_classifier
from edgeclf_export.sources.modules import exportable_from_module
from edgeclf_export.sources.weights import digest_state
from edgeclf_export.targets.registry import TARGETS
from edgeclf_export.targets.target import ExportGraph, OnDevice
from edgeclf_runtime.bundle.atomic_write import writing
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.manifest import Manifest, Normalization, Precision, Reference, State
from edgeclf_runtime.bundle.proof import Proof
from edgeclf_runtime.bundle.quantization_report import Ladder
from edgeclf_runtime.errors import GateError, UsageError
from edgeclf_runtime.images.decode import decode
from edgeclf_runtime.images.pixels import Pixels
from edgeclf_runtime.progress import SILENT, Progress

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Exported:
    """A published bundle, what it is, and the proof and checks that it carries.

    Attributes
    ----------
    path
        Its folder.
    bundle_bytes
        Size of all its files.
    target, state, weights_precision
        As in its manifest; state is "built", or "portable" where the device has to build an engine.
    proof
        How it compares with the reference on this machine.
    checks
        A sentence for each check beside the proof.
    ladder
        Of int8 and auto: the steps that were tried, with their measurements.
    """

    path: Path
    bundle_bytes: int
    target: str
    state: State
    weights_precision: Precision
    proof: Proof
    checks: tuple[str, ...]
    ladder: Ladder | None = None


def export_module(
    module: torch.nn.Module,
    pixels: Pixels,
    labels: Sequence[str],
    options: ExportOptions = ExportOptions(),
    *,
    normalization: Normalization,
    name: str = "module",
    scores: Literal["softmax", "sigmoid"] = "softmax",
    multi_label: bool = False,
) -> list[Exported]:
    """Proven bundles of your own module, one a target.

    Parameters
    ----------
    module
        (N, 3, H, W) normalised float32 -> (N, classes) float32 logits, on the CPU; put into evaluation mode.
    pixels, normalization
        How an image becomes its input. H and W are `pixels.crop_px`.
    labels
        The classes in order.
    options
        Targets, precision, output folder and more.
    name
        Of the bundles, and of the model in their provenance.
    scores
        "softmax" where one class is right; "sigmoid" where each is a question of its own.
    multi_label
        With "sigmoid": every label of a probability from one half on is predicted, instead of the best one.

    Returns
    -------
    list of Exported
        One a target.

    Raises
    ------
    UsageError
        The module takes or gives something else, a target does not support it (pytorch: it can't be built again), or
        the output exists.
    GateError
        A bundle differs from the module by more than its tolerances. It is kept aside as NAME.failed.

    Examples
    --------
    >>> from torch import nn
    >>> from edgeclf_export import ExportOptions, export_module
    >>> from edgeclf_runtime import Normalization, Pixels
    >>> module = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(1800, 2))
    >>> (exported,) = export_module(
    ...     module,
    ...     Pixels("shorter", resize_px=(40, 40), crop_px=(32, 32)),
    ...     ["apple", "pear"],
    ...     ExportOptions(targets=("onnx",)),
    ...     normalization=Normalization(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    ...     name="orchard",
    ... )
    >>> print(exported.path, exported.proof.verdict)
    bundles/orchard-onnx-fp32 pass
    """
    if multi_label and scores != "sigmoid":
        raise UsageError(f"several labels an image need scores='sigmoid', found {scores!r}")
    plan_outputs(name, options)
    reference = Reference("pytorch", f"{name} {digest_state(module.state_dict())}")
    exportable = exportable_from_module(
        module,
        labels=tuple(labels),
        pixels=pixels,
        normalization=normalization,
        backbone=name,
        weights="module",
        reference=reference,
        scores=scores,
    )
    return list(export_each(replace(exportable, multi_label=multi_label), options))


def export(
    source: AnyExportable | Bundle | str | Path,
    options: ExportOptions = ExportOptions(),
    progress: Progress = SILENT,
) -> tuple[Exported, ...]:
    """Proven bundles, one a target, as `edgeclf export` makes them. Raises as `export_each`, which it runs to its end.

    Parameters
    ----------
    source
        An fp32 onnx bundle or its path; or what `load_backbone`, `load_onnx_classifier`, or `exportable()` of an
        `edgeclf.Run` gives.
    """
    if not isinstance(source, (Bundle, str, Path)):
        return tuple(export_each(source, options, progress))
    bundle = Bundle.open(source)
    with tempfile.TemporaryDirectory() as folder:  # of its golden images, until all targets are made
        return tuple(export_each(load_bundle_classifier(bundle, Path(folder)), options, progress))


def export_each(
    exportable: AnyExportable,
    options: ExportOptions = ExportOptions(),
    progress: Progress = SILENT,
) -> Iterator[Exported]:
    """Yields a proven bundle for each target, as each is published.

    Where a TensorRT engine can be built on this machine, its bundle follows the portable one.

    Parameters
    ----------
    exportable
        The classifier or encoder to export.
    options
        Targets, precision, output folder and more.
    progress
        Receives each step, and a note where one helps beforehand: of int8, what the evaluation images can show.

    Yields
    ------
    Exported
        One a target, and one more for an engine that was built here.

    Raises
    ------
    UsageError
        An output that exists, before anything is made; a target that does not support this classifier.
    TargetsFailed
        After all targets were tried: a bundle differs from its reference by more than its tolerances, or no int8 model
        passes its accuracy gate. It is kept aside as NAME.failed.
    """
    if isinstance(exportable, TextExportable) or not exportable.labels:
        refuse_int8_of_encoder(options.precision)
    taken_as_it_is = isinstance(exportable, Exportable) and bool(exportable.quantized)
    if isinstance(exportable, Exportable) and taken_as_it_is:
        refuse_for_quantized(exportable.backbone, options)
    if exportable.make_module is None:
        refuse_without_module(options.targets)
    destinations = plan_outputs(exportable.name, options)
    images: ProofImages | ProofTexts
    if isinstance(exportable, TextExportable):
        images = load_proof_texts(exportable.tokenizer, options.proof_data)
        progress.step("running the reference")
        reference_outputs = exportable.run_reference(images.batch)
    else:
        progress.step("reading the proof images")
        images = _proof_images(exportable, options)
        _check_pixels(exportable, images)
        progress.step("running the reference")
        reference_outputs = exportable.run_reference(images.batch)
        if options.features:
            images = replace(images, features=feature_data(exportable, images.pixels, options.nearest_images))
    if broken := int((~np.isfinite(reference_outputs)).any(axis=1).sum()):
        raise GateError(
            f"{exportable.backbone} itself gives NaN or infinite outputs for {broken} of {len(reference_outputs)} "
            "items; its weights are damaged, or its training diverged"
        )
    if isinstance(exportable, Exportable) and exportable.labels:
        _refuse_equal_logits(exportable, reference_outputs)
    export_graph = ExportGraph(exportable, options.form, options.opset, options.engine)
    if options.precision != "fp32" and not taken_as_it_is:
        checked = (TARGETS[name].checked_by or TARGETS[name] for name in options.targets)
        for target in {target.name: target for target in checked}.values():
            progress.step(f"checking {target.name} in fp32, of which {options.precision} is made")
            check_in_fp32(target, export_graph, images, reference_outputs, options.precision)
    quantizes = options.precision in PRECISIONS and not taken_as_it_is
    if quantizes and isinstance(exportable, Exportable) and isinstance(images, ProofImages):
        order = Order(options.precision, TARGETS, destinations, fallback_outputs(destinations, options), options.force)
        made = export_quantized(exportable, order, options.int8, export_graph, images, reference_outputs, progress)
        for place, manifest, proof in made:
            yield from _published(place, manifest, proof, options, progress)
        return
    failed: list[Failed] = []
    for name, destination in destinations.items():
        progress.step(f"building {name} {options.precision}")
        try:
            with writing(destination, force=options.force) as draft:
                manifest, proof = build_bundle(
                    draft, TARGETS[name], options.precision, export_graph, images, reference_outputs
                )
                if proof.verdict == "fail":
                    raise GateError(keep_aside(draft, destination, proof))
        except GateError as error:
            failed.append(Failed(name, str(error)))
            continue
        yield from _published(destination, manifest, proof, options, progress)
    if failed:
        raise TargetsFailed(failed, [name for name in destinations if name not in {each.target for each in failed}])


def _refuse_equal_logits(exportable: Exportable, reference_outputs: NDArray[np.float32]) -> None:
    """Raises GateError where every image has the same logit for all classes: nothing can be compared then."""
    ranges, sizes = np.ptp(reference_outputs, axis=1), np.abs(reference_outputs).max(axis=1)
    if len(reference_outputs) and (ranges <= 4 * np.finfo(np.float32).eps * sizes).all():
        raise GateError(
            f"{exportable.backbone} gives all classes the same logit, for each of {len(reference_outputs)} images; its "
            "weights are damaged, or its labels are the same"
        )


def _published(
    place: Path, manifest: Manifest, proof: Proof, options: ExportOptions, progress: Progress
) -> Iterator[Exported]:
    """A finished bundle, and its engine where this machine can build it."""
    yield Exported(
        path=place,
        bundle_bytes=sum(file.stat().st_size for file in place.rglob("*") if file.is_file()),
        target=manifest.target,
        state=manifest.state,
        weights_precision=manifest.weights_precision,
        proof=proof,
        checks=manifest.checks,
        ladder=manifest.ladder,
    )
    on_device = TARGETS[manifest.target].on_device
    if on_device is not None and on_device.why_not_here() is None:
        yield _engine(on_device, place, options, progress)


def _engine(on_device: OnDevice, portable: Path, options: ExportOptions, progress: Progress) -> Exported:
    """The engine of a portable bundle, on the machine that has the GPU. Raises GateError where its proof fails."""
    outcome = on_device.build_here(portable, options.force, progress)
    bundle = outcome.bundle
    size = sum(entry.bytes for entry in bundle.manifest.files.values())
    kind = "text" if bundle.manifest.task == "embed-text" else "image"
    way = f"{'tokens' if kind == 'text' else 'pixels'} to {bundle.manifest.outputs[0].name}"
    measured = f"one {kind} takes {outcome.median_ms:.2f} ms (median), {way}"
    return Exported(
        bundle.path,
        size,
        bundle.manifest.target,
        bundle.manifest.state,
        bundle.manifest.weights_precision,
        outcome.proof,
        (measured, *outcome.remarks),
    )


def _proof_images(exportable: Exportable, options: ExportOptions) -> ProofImages:
    """Images to prove on. Int8 of a folder: its evaluation half, images like those that its ranges were measured on."""
    from_calibration = options.precision in PRECISIONS and options.proof_data is None and not exportable.quantized
    if not from_calibration or exportable.proof_files:
        return proof_images_of(exportable, options.proof_data)
    roles = assign_images(exportable, options.int8)
    files = tuple(image.path for image in roles.evaluation)
    return load_proof_images(exportable.pixels, files=files, called=f"{roles.source}, the half kept for evaluation")


def _check_pixels(exportable: Exportable, images: ProofImages) -> None:
    """The runtime's pixels against the library's own evaluation transform, bit for bit."""
    if exportable.pixel_reference is None:
        return
    pixels = exportable.pixels
    for index in images.golden:
        image = decode(images.files[index], background=pixels.background, value_range=pixels.value_range).image
        if image.height > image.width:  # from Pillow 13 on, the library's transform rounds tall ones differently
            image = image.transpose(Image.Transpose.ROTATE_90)
        wanted, found = exportable.pixel_reference(image), pixels.apply(image)
        if wanted.shape != found.shape:
            difference = f"as {found.shape} where {wanted.shape} is wanted, against"
        elif levels := int(np.abs(wanted.astype(np.int16) - found).max()):
            difference = f"up to {levels} levels off"
        else:
            continue
        raise GateError(
            f"preprocessing: {images.files[index].name} comes out {difference} the evaluation transform of "
            f"{exportable.backbone}; please report this backbone"
        )
