"""A finished onnx bundle as the source of others: its graph, and PyTorch's outputs from when it was exported."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgeclf_export.exportable import Exportable
from edgeclf_export.graph.features import without_features
from edgeclf_runtime.backends import ort
from edgeclf_runtime.backends.ort import MODEL
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.external_data import refuse_external_data
from edgeclf_runtime.bundle.manifest import Normalization
from edgeclf_runtime.deploy.golden_items import pixels_digest
from edgeclf_runtime.deploy.verify import run_pixels
from edgeclf_runtime.errors import BundleError, DataError, GateError, UsageError
from edgeclf_runtime.images.pixels import Pixels
from edgeclf_runtime.session import open_session


def load_bundle_classifier(bundle: Bundle, folder: Path) -> Exportable:
    """The classifier in an fp32 onnx bundle, ready for export without torch; `folder` receives its golden images.

    Its golden outputs are the reference: new bundles are proven against PyTorch, not against the bundle. On other
    images, which int8 is evaluated on, the bundle itself stands in for it: a proof showed that they agree. Raises
    UsageError for another bundle, BundleError for a damaged one.
    """
    pixels, normalization, scores = require_source(bundle)
    manifest = bundle.manifest
    bundle.check_all()
    form = "uint8-nhwc" if normalization.applied_by == "graph" else "float-nchw"
    return Exportable(
        backbone=manifest.provenance.backbone,
        weights=manifest.provenance.weights,
        labels=manifest.labels,
        pixels=pixels,
        normalization=normalization,
        reference=manifest.reference,
        run_reference=lambda batch: _golden_logits(bundle, batch),
        run_stand_in=lambda batch: _own_logits(bundle, batch),
        make_onnx=lambda wanted, opset: _graph(bundle, form, wanted),
        batch=manifest.inputs[0].fixed_batch,
        scores=scores,
        multi_label=manifest.multi_label,
        embedding_width=None if manifest.task == "classify" else int(manifest.outputs[0].shape[1]),
        prompts=manifest.prompts,
        proof_files=_write_images(bundle, folder),
        parent=bundle,
    )


def require_source(bundle: Bundle) -> tuple[Pixels, Normalization, Literal["softmax", "sigmoid"]]:
    """What an fp32 onnx bundle of images does with pixels and logits. Raises UsageError for other bundles."""
    manifest = bundle.manifest
    if manifest.task == "embed-text":
        raise UsageError(f"{bundle.path} encodes texts; export it from its CLIP model: --model NAME --encoder text")
    pixels, normalization = manifest.pixels, manifest.normalization
    fits = (manifest.target, manifest.weights_precision) == (ort.BACKEND.name, "fp32")
    if not fits or pixels is None or normalization is None or manifest.scores == "margin":
        raise UsageError(
            f"{bundle.path} is a bundle for {manifest.target} in {manifest.weights_precision}; others are made from an "
            "onnx bundle in fp32, or from the run, model or file that this one came from"
        )
    return pixels, normalization, manifest.scores


def _own_logits(bundle: Bundle, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The bundle's own logits, as a device runs it. Raises GateError where its proof failed."""
    proof = bundle.manifest.proof
    if proof is not None and proof.verdict == "fail":
        raise GateError(
            f"{bundle.path} differs from its own reference, so nothing can be evaluated against it: "
            f"{'; '.join(proof.reasons)}"
        )
    with open_session(bundle) as session:
        return run_pixels(session, bundle.manifest, batch)


def _graph(bundle: Bundle, form: str, wanted: str) -> bytes:
    if wanted != form:
        raise UsageError(f"the graph of {bundle.path} takes {form}; give --input {form}, or export from its origin")
    model = bundle.read(MODEL)
    refuse_external_data(model, f"{bundle.path}/{MODEL}")
    return without_features(model)


def _write_images(bundle: Bundle, folder: Path) -> tuple[Path, ...]:
    files = []
    for golden in bundle.manifest.golden.images:
        file = folder / Path(golden.image).name
        file.write_bytes(bundle.read(golden.image))
        files.append(file)
    return tuple(files)


def _golden_logits(bundle: Bundle, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The reference's logits for these pixels. Raises DataError where they are not those of the golden images."""
    golden = bundle.manifest.golden
    outputs = bundle.read_array(golden.outputs)
    if len(outputs) != len(golden.images):
        raise BundleError(f"{bundle.path}: {len(outputs)} reference outputs for {len(golden.images)} golden images")
    known = {image.pixels_sha256: logits for image, logits in zip(golden.images, outputs, strict=True)}
    try:
        return np.stack([known[pixels_digest(pixels)] for pixels in batch])
    except KeyError:
        raise DataError(
            f"{bundle.path}: this machine decodes the golden images into other pixels than the exporter did; "
            "`edgeclf verify` lists them"
        ) from None
