"""Proves a bundle on this machine from its golden images alone: decoding and engine are judged apart."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgeclf_runtime.bundle import Bundle
from edgeclf_runtime.engine import SessionOptions
from edgeclf_runtime.errors import BundleError, EdgeclfError, UsageError
from edgeclf_runtime.golden_texts import golden_tokens, tokens_fault
from edgeclf_runtime.machine import machine_facts, now_utc
from edgeclf_runtime.manifest import GoldenImage, Manifest, to_input
from edgeclf_runtime.pixels import PixelMode, mode_facts
from edgeclf_runtime.proof import (
    ENOUGH_IMAGES,
    FAST_PIXELS,
    TOLERANCES,
    Proof,
    coarser,
    compare,
    compare_embeddings,
    judge,
)
from edgeclf_runtime.session import Session, open_session

IMAGES_SOURCE, TEXTS_SOURCE = "golden images", "golden texts"


def verify(bundle: Bundle, options: SessionOptions = SessionOptions(), mode: PixelMode = "exact") -> Proof:
    """This machine's proof: every file's hash, the decoder on the golden images, the engine on their exact pixels.

    Of a text encoder: the tokenizer on the golden texts, the engine on their exact tokens. In the mode "fast" the
    engine gets the pixels that this mode gives, so that decoder and engine are judged together, by FAST_PIXELS.

    Raises BundleError where a file changed, BackendError where the engine can't be opened as the manifest asks. A
    failed comparison is not raised: it is the verdict.
    """
    bundle.check_all()
    manifest = bundle.manifest
    of_texts = manifest.task == "embed-text"
    batch: NDArray[Any] = golden_tokens(bundle) if of_texts else _golden_batch(bundle)
    reference = bundle.read_array(manifest.golden.outputs)
    with open_session(bundle, options) as session:
        seen = _fast_batch(bundle, batch) if mode == "fast" else batch
        answers = run_pixels(session, manifest, seen)
        if answers.shape != reference.shape:
            raise BundleError(f"{bundle.path}: reference outputs {reference.shape} for answers of {answers.shape}")
        proof = prove(
            replace(manifest, tolerances=coarser(manifest.tolerances, FAST_PIXELS)) if mode == "fast" else manifest,
            answers,
            reference=reference,
            decoding=[] if mode == "fast" else _decoding_faults(bundle, batch),
            images_source=TEXTS_SOURCE if of_texts else IMAGES_SOURCE,
            images_sha256=pixels_digest(batch),
            session=session,
        )
        if mode == "exact":
            return proof
        return _of_fast_pixels(proof, levels=int(np.abs(seen.astype(np.int16) - batch).max()))


def _of_fast_pixels(proof: Proof, levels: int) -> Proof:
    """The proof, said to be of fast pixels; inconclusive where they were the exact ones, which proves nothing new."""
    if not levels and proof.verdict == "pass":
        reason = (
            "no golden image is a JPEG large enough to be read at a part of its size; export with such --proof-data"
        )
        proof = replace(proof, verdict="inconclusive", reasons=(reason,))
    return replace(proof, max_pixel_levels=levels, machine={**proof.machine, **mode_facts("fast")})


def prove(
    manifest: Manifest,
    answers: NDArray[np.float32],
    *,
    reference: NDArray[np.float32],
    decoding: list[tuple[str, int] | None],
    images_source: str,
    images_sha256: str,
    session: Session,
) -> Proof:
    """The proof that follows from a session's answers, the reference's, and the (image, levels) of decoding faults.

    Classifiers are compared by logits, encoders by embeddings.
    """
    tolerances = manifest.tolerances
    if session.compute_precision != manifest.compute_precision:  # the user asked for another than the bundle's own
        tolerances = coarser(tolerances, TOLERANCES.get(session.compute_precision, tolerances))
    if manifest.task == "classify":
        comparison = compare(reference, answers, tolerances)
        verdict, reasons = judge(comparison, tolerances)
        if verdict == "inconclusive" and comparison.images >= ENOUGH_IMAGES and (shown := _shown_by_floor(manifest)):
            verdict, reasons = "pass", (shown,)
    else:
        items = "texts" if manifest.task == "embed-text" else "images"
        comparison = compare_embeddings(reference, answers, tolerances)
        verdict, reasons = judge(comparison, tolerances, items=items, outputs="embeddings")
    reasons = tuple(f"engine: {reason}" for reason in reasons)
    faults = [fault for fault in decoding if fault is not None]
    worst = max((levels for _, levels in faults), default=0)
    if faults:
        verdict = "fail"
        if manifest.task == "embed-text":
            reasons += (f"tokenizer: {len(faults)} texts come out as other tokens, such as {faults[0][0]!r}",)
        else:
            reasons += (f"decoding: {len(faults)} images come out up to {worst} levels off, such as {faults[0][0]}",)
    return Proof(
        verdict=verdict,
        reasons=reasons,
        comparison=comparison,
        tolerances=tolerances,
        images_source=images_source,
        images_sha256=images_sha256,
        decoding_faults=tuple(name for name, _ in faults),
        max_pixel_levels=worst,
        compute_precision=session.compute_precision,
        machine={**machine_facts(), **session.facts},
        created_utc=now_utc(),
    )


def _shown_by_floor(manifest: Manifest) -> str | None:
    """INT8's tolerances are so wide that every image may be a near tie; its top-1 was shown on labelled images."""
    judged = manifest.ladder.decisive if manifest.ladder else None
    if judged is None or judged.verdict != "pass":
        return None
    return f"top-1 is not judged here, where every image is a near tie, but was at export on {judged.images} images"


def run_pixels(
    session: Session, manifest: Manifest, batch: NDArray[Any], *, batch_size: int = 8
) -> NDArray[np.float32]:
    """(N, H, W, 3) uint8 pixels, or (N, context) tokens -> outputs, in batches of `batch_size`.

    Some go alone, half of a small set: an engine may run another program for one item than for several.
    """
    alone = min(len(batch) // 2, batch_size)
    chunks = [batch[place : place + 1] for place in range(alone)]
    chunks += [batch[start : start + batch_size] for start in range(alone, len(batch), batch_size)] or [batch]
    return np.concatenate(list(session.stream(to_input(chunk, manifest.normalization) for chunk in chunks)))


def pixels_digest(pixels: NDArray[Any]) -> str:
    """SHA-256 of an array's shape and bytes."""
    return hashlib.sha256(repr(pixels.shape).encode() + np.ascontiguousarray(pixels).tobytes()).hexdigest()


def _golden_batch(bundle: Bundle) -> NDArray[np.uint8]:
    """(N, H, W, 3) uint8: the exporter's pixels of all golden images."""
    pixels = [_golden_pixels(bundle, golden) for golden in bundle.manifest.golden.images]
    if not pixels:
        raise BundleError(f"{bundle.path}: no golden images to verify with; export the bundle again")
    if len({item.shape for item in pixels}) > 1:
        raise BundleError(f"{bundle.path}: golden pixels of several sizes; export the bundle again")
    return np.stack(pixels)


def _golden_pixels(bundle: Bundle, golden: GoldenImage) -> NDArray[np.uint8]:
    """The exporter's pixels of a golden image, stored without loss."""
    try:
        with Image.open(io.BytesIO(bundle.read(golden.pixels)), formats=["PNG"]) as image:
            pixels = np.array(image.convert("RGB"), dtype=np.uint8)
    except (OSError, SyntaxError, ValueError) as error:
        raise BundleError(f"{bundle.path}/{golden.pixels}: no PNG ({error})") from error
    if pixels_digest(pixels) != golden.pixels_sha256:
        raise BundleError(f"{bundle.path}/{golden.pixels}: this Pillow reads other pixels from a PNG; update Pillow")
    return pixels


def _fast_batch(bundle: Bundle, exact: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(N, H, W, 3) uint8: the golden images as the mode "fast" reads them."""
    pixels = bundle.manifest.pixels
    if pixels is None:
        raise UsageError(f"{bundle.path} takes no images; fast pixels are for those that do")
    batch = np.stack(
        [pixels.load(bundle.read(golden.image), mode="fast")[0] for golden in bundle.manifest.golden.images]
    )
    if batch.shape != exact.shape:
        raise BundleError(f"{bundle.path}: golden images give pixels of {batch.shape}, not {exact.shape}")
    return batch


def _decoding_faults(bundle: Bundle, batch: NDArray[Any]) -> list[tuple[str, int] | None]:
    if bundle.manifest.task == "embed-text":
        return tokens_fault(bundle, batch)
    return [_decoding_fault(bundle, golden, batch[i]) for i, golden in enumerate(bundle.manifest.golden.images)]


def _decoding_fault(bundle: Bundle, golden: GoldenImage, wanted: NDArray[np.uint8]) -> tuple[str, int] | None:
    """(image, largest difference in levels) where this machine decodes other pixels than the exporter did."""
    pixels = bundle.manifest.pixels
    if pixels is None:
        return None
    try:
        found, _ = pixels.load(bundle.read(golden.image))
    except EdgeclfError:
        return golden.image, 255
    if found.shape != wanted.shape:
        return golden.image, 255
    levels = int(np.abs(found.astype(np.int16) - wanted).max())
    return (golden.image, levels) if levels else None
