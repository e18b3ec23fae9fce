"""One bundle: the engine's files, golden images, a manifest, and the proof by the runtime that a device would use."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgeclf_export.exportable import Exportable, TextExportable
from edgeclf_export.proof.features import with_features_output, write_class_means
from edgeclf_export.proof.image_metadata import without_metadata
from edgeclf_export.proof.images import ProofImages
from edgeclf_export.proof.measured import are_plausible, measured_tolerances
from edgeclf_export.proof.probes import write_probes
from edgeclf_export.proof.texts import ProofTexts, write_golden_texts, write_tokenizer
from edgeclf_export.proof.validation import learn_from_validation
from edgeclf_export.targets.target import Built, ExportGraph, Target
from edgeclf_runtime.backends.audit import Audit, check_audit
from edgeclf_runtime.bundle.atomic_write import seal, seal_proven, set_aside
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.golden import Golden, GoldenImage
from edgeclf_runtime.bundle.manifest import Manifest, Provenance, Thresholds
from edgeclf_runtime.bundle.own_outputs import record_own_outputs
from edgeclf_runtime.bundle.proof import TOLERANCES, Proof, coarser
from edgeclf_runtime.deploy.golden_features import write_own_features
from edgeclf_runtime.deploy.golden_items import pixels_digest
from edgeclf_runtime.deploy.verify import prove, run_pixels, verify
from edgeclf_runtime.errors import GateError
from edgeclf_runtime.images.decode import decode
from edgeclf_runtime.machine.facts import now_utc, package_version
from edgeclf_runtime.session import BACKENDS, Session, open_session

_QUANTIZED_ELSEWHERE = (
    "the file is quantized already, and taken as it is: quantize its float network here, with --precision int8 and "
    "--calib-data"
)
NO_GOLDEN = Golden((), "golden/outputs.npy")  # of a model that is only tried, and never published
_VERSIONED = dict.fromkeys(
    (
        *("edgeclf", "torch", "timm", "torchvision", "open_clip_torch", "onnx", "litert_torch", "ai_edge_quantizer"),
        *(backend.module for backend in BACKENDS.values()),
        *("numpy", "pillow"),
    )
)


def check_in_fp32(
    target: Target,
    export_graph: ExportGraph,
    images: ProofImages | ProofTexts,
    reference_outputs: NDArray[np.float32],
    precision: str,
) -> None:
    """Runs the golden items through the target's model in fp32, before another precision is made of it.

    The expected changes of int8 and 16 bits would hide a small fault of the graph. Raises GateError.
    """
    golden = list(images.golden)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        manifest = describe(export_graph, target.name, target.build(export_graph, "fp32", folder), NO_GOLDEN)
        seal(folder, manifest)
        with target.open(Bundle.open(folder)) as session:
            proof = prove(
                manifest,
                run_pixels(session, manifest, images.batch[golden]),
                reference=reference_outputs[golden],
                decoding=[],
                images_source=images.source,
                images_sha256="",
                session=session,
            )
    if proof.verdict == "fail":
        raise GateError(
            f"{target.name}: already in fp32, of which {precision} would be made, the model differs from its "
            f"reference: {'; '.join(proof.reasons)}"
        )


def build_bundle(
    draft: Path,
    target: Target,
    precision: str,
    export_graph: ExportGraph,
    images: ProofImages | ProofTexts,
    reference_outputs: NDArray[np.float32],
) -> tuple[Manifest, Proof]:
    """Builds, seals and proves a bundle in the new folder `draft`; pass or fail, the proof is in its manifest.

    `reference_outputs` are the reference's for `images`.
    """
    draft.mkdir()
    built = target.build(export_graph, precision, draft)
    if isinstance(images, ProofTexts):
        golden = write_golden_texts(draft, images, reference_outputs)
    else:
        golden = write_golden(draft / "golden", images, reference_outputs)
    if isinstance(export_graph.exportable, TextExportable):
        write_tokenizer(draft, export_graph.exportable.tokenizer)
    manifest = describe(export_graph, target.name, built, golden)
    shares = target.shares(draft, manifest)
    taken_as_it_is = isinstance(export_graph.exportable, Exportable) and bool(export_graph.exportable.quantized)
    warning = check_audit(
        Audit(shares or {}),
        manifest.compute_precision,
        where=target.name,
        advice=_QUANTIZED_ELSEWHERE if taken_as_it_is else "",
    )
    manifest = replace(manifest, shares=shares, checks=(*manifest.checks, *([warning] if warning else [])))
    if isinstance(images, ProofImages) and images.features is not None:
        manifest = with_features_output(draft, manifest, target, images.features, images.golden)
    return prove_and_seal(
        draft, manifest, images, reference_outputs, target.open, target.proves, measure=taken_as_it_is
    )


def prove_and_seal(
    draft: Path,
    manifest: Manifest,
    images: ProofImages | ProofTexts,
    reference_outputs: NDArray[np.float32],
    open_bundle: Callable[[Bundle], Session] = open_session,
    proves: str = "",
    *,
    measure: bool = False,
) -> tuple[Manifest, Proof]:
    """Opens the files in `draft` as a device would, compares, records its own outputs, and runs `verify`.

    Returns the sealed manifest, with the proof in it. Where the model that a device runs can't be opened here,
    `open_bundle` opens what is proven in its place, and `proves` is the sentence about it in the proof.

    `measure`: an int8 model that no accuracy gate has measured. It may differ as much as it does here, and half as much
    again: with the tolerances of int8 in general, nearly every image would be a near tie.
    """
    features = images.features if isinstance(images, ProofImages) else None
    seal(draft, manifest)
    with open_bundle(Bundle.open(draft)) as session:
        if features is not None:
            manifest = write_class_means(draft, manifest, features, session)
        outputs = run_pixels(session, manifest, images.batch)
        if isinstance(images, ProofImages) and manifest.task == "classify":
            manifest = learn_from_validation(draft, manifest, images, outputs, session)
        if measure:
            seen = measured_tolerances(reference_outputs, outputs, manifest.label_logits)
            if are_plausible(seen):  # one that is its own reference differs by the kernels of other machines alone
                manifest = replace(manifest, tolerances=coarser(seen, TOLERANCES["bf16"]))
        proof = prove(
            manifest,
            outputs,
            reference=reference_outputs,
            decoding=[],
            images_source=images.source,
            images_sha256=images.sha256,
            session=session,
        )
        golden = list(images.golden)
        if isinstance(images, ProofImages):
            write_own_features(draft, manifest, session, images.pixels[golden])
        own = run_pixels(session, manifest, images.batch[golden])  # as `verify` will run them
        manifest = replace(
            manifest, own=record_own_outputs(draft, manifest, own, proof.machine, session.compute_precision)
        )
    seal(draft, manifest)
    proof = _and_verified(proof, verify(Bundle.open(draft), open_bundle=lambda bundle, _: open_bundle(bundle)))
    if proves and proof.verdict != "fail":
        proof = replace(proof, reasons=(*proof.reasons, proves))
    return seal_proven(draft, manifest, proof), proof


def _and_verified(proof: Proof, verified: Proof) -> Proof:
    """The proof on all images, with what `verify` found in the finished bundle; it fails where either does."""
    proof = replace(
        proof,
        decoding_faults=verified.decoding_faults,
        max_pixel_levels=verified.max_pixel_levels,
        own=verified.own,
        notes=verified.notes,
    )
    if verified.verdict != "fail":
        return proof
    known = proof.reasons if proof.verdict == "fail" else ()
    new = tuple(reason for reason in verified.reasons if reason not in known)
    return replace(
        proof, verdict="fail", reasons=(*known, *(f"{reason} (verify, on the golden images)" for reason in new))
    )


def keep_aside(draft: Path, destination: Path, proof: Proof) -> str:
    """Moves a bundle that failed to NAME.failed; returns the sentence about it."""
    aside = set_aside(draft, destination)
    return f"{destination.name} differs from its reference: {'; '.join(proof.reasons)}; kept aside as {aside}"


def describe(export_graph: ExportGraph, target: str, built: Built, golden: Golden) -> Manifest:
    """The manifest of what a target built, before any proof."""
    exportable, training, parent = (
        export_graph.exportable,
        export_graph.exportable.training,
        export_graph.exportable.parent,
    )
    contract = exportable.contract(export_graph.form, built.batch)
    manifest = Manifest(
        task=contract.task,
        state=built.state,
        target=target,
        inputs=contract.inputs,
        outputs=contract.outputs,
        labels=contract.labels,
        scores=contract.scores,
        multi_label=contract.multi_label,
        pixels=contract.pixels,
        normalization=contract.normalization,
        prompts=contract.prompts,
        weights_precision=built.weights_precision,
        compute_precision=built.compute_precision,
        tolerances=coarser(TOLERANCES[built.weights_precision], TOLERANCES[built.compute_precision]),
        provenance=Provenance(
            backbone=exportable.backbone,
            weights=exportable.weights,
            created_utc=now_utc(),
            versions={name: version for name in _VERSIONED if (version := package_version(name))},
            run=training.run if training else None,
            training_seconds=training.seconds if training else None,
            data_sha256=training.data_sha256 if training else None,
            test_uses=training.test_uses if training else (),
            teacher=training.teacher if training else None,
        ),
        temperature=training.temperature if training else 1.0,
        temperature_fit=training.temperature_fit if training else None,
        thresholds=exportable.thresholds if isinstance(exportable, Exportable) else Thresholds(),
        reference=exportable.reference,
        golden=golden,
        checks=built.checks,
    )
    if parent is None:
        return manifest
    origin = parent.manifest.provenance
    return replace(
        manifest,
        provenance=replace(origin, created_utc=now_utc(), versions={**origin.versions, **manifest.provenance.versions}),
        temperature=parent.manifest.temperature,
        temperature_fit=parent.manifest.temperature_fit,
        thresholds=replace(parent.manifest.thresholds, features=None),
        derived_from=parent.digest,
    )


def write_golden(folder: Path, images: ProofImages, reference_outputs: NDArray[np.float32]) -> Golden:
    """Image files without their metadata, their pixels as PNG, and the reference's outputs for them."""
    folder.mkdir()
    items = []
    for number, index in enumerate(images.golden):
        image = _write_bare(images.files[index], folder, number)
        pixels = f"golden/{number}_pixels.png"
        Image.fromarray(images.pixels[index]).save(folder.parent / pixels, optimize=True)
        items.append(GoldenImage(image, pixels, pixels_digest(images.pixels[index])))
    outputs = "golden/outputs.npy"
    np.save(folder.parent / outputs, reference_outputs[list(images.golden)].astype(np.float32), allow_pickle=False)
    return Golden(tuple(items), outputs, probes=write_probes(folder, images.contract))


def _write_bare(file: Path, folder: Path, number: int) -> str:
    """The image without EXIF and the like; formats that can't be stripped are stored as PNG."""
    data = file.read_bytes()
    bare = without_metadata(data)
    if bare is not None and np.array_equal(np.asarray(decode(bare).image), np.asarray(decode(data).image)):
        path = folder / f"{number}{file.suffix.lower()}"
        path.write_bytes(bare)
    else:
        path = folder / f"{number}.png"
        decode(data).image.save(path)
    return f"golden/{path.name}"
