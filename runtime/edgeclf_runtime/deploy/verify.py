"""Proves a bundle on this machine from its golden images alone: files, decoding, engine and predictions apart."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.bundle.atomic_write import seal
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.manifest import GoldenImage, Manifest, to_input
from edgeclf_runtime.bundle.own_outputs import compare_with_own, prediction_faults, record_own_outputs
from edgeclf_runtime.bundle.proof import (
    ENOUGH_IMAGES,
    FAST_PIXELS,
    MOST_MEASURED,
    TOLERANCES,
    OwnCheck,
    Proof,
    Tolerances,
    coarser,
    compare,
    compare_embeddings,
    judge,
    judge_own,
    stricter,
)
from edgeclf_runtime.errors import BundleError, EdgeclfError, ImageError, UsageError
from edgeclf_runtime.images.pixels import PixelMode, mode_facts
from edgeclf_runtime.machine.facts import machine_facts, now_utc
from edgeclf_runtime.metrics.verdict import Verdict
from edgeclf_runtime.session import BACKENDS, Session, open_session, stored_faults
from edgeclf_runtime.text.golden_texts import golden_tokens, tokens_fault

IMAGES_SOURCE, TEXTS_SOURCE = "golden images", "golden texts"


def verify(
    bundle: str | os.PathLike[str] | Bundle,
    options: SessionOptions = SessionOptions(),
    mode: PixelMode = "exact",
    open_bundle: Callable[[Bundle, SessionOptions], Session] = open_session,
) -> Proof:
    """This machine's proof of a bundle, opened or at a path. Nothing is written; `save_proof` keeps it.

    Each question is answered apart, so that a fault is laid at the right door.

    - files: every hash; the precision that the weights are really stored in
    - decoding: the golden images and probes, pixel by pixel; of a text encoder the tokenizer, token by token
    - engine: on the exact golden pixels, does it compute what it computed where the bundle was made, and is it as near
      its reference as it was there?
    - predictions: do labels, temperature and thresholds make the same of the same logits?

    In the mode "fast" the engine gets, beside the exact pixels, those that this mode gives: decoder and engine are
    then evaluated together, by the wider tolerances FAST_PIXELS.

    A comparison that fails is not raised: it is the verdict.

    Parameters
    ----------
    bundle
        What to prove.
    options
        How to run it here.
    mode
        "exact" or "fast", as for `Classifier.open`.
    open_bundle
        Gives the session where a device would open something else, as of a portable bundle.

    Returns
    -------
    Proof
        `verdict` is "pass", "fail" or "inconclusive", `reasons` say why.

    Raises
    ------
    BundleError
        A file was changed.
    BackendError
        The engine can't be opened as the manifest asks.

    Examples
    --------
    >>> from edgeclf_runtime import Bundle, verify
    >>> proof = verify(Bundle.open("bundles/scenes"))
    >>> proof.verdict, proof.reasons
    ('pass', ())
    """
    bundle = Bundle.open(bundle)
    bundle.check_all()
    manifest = bundle.manifest
    of_texts = manifest.task == "embed-text"
    batch: NDArray[Any] = golden_tokens(bundle) if of_texts else _golden_batch(bundle)
    reference = bundle.read_array(manifest.golden.outputs)
    with open_bundle(bundle, options) as session:
        outputs = _run_golden(bundle, session, batch)
        if outputs.shape != reference.shape:
            raise BundleError(
                f"{bundle.path}: reference outputs {reference.shape} for outputs of {outputs.shape}; export it again"
            )
        machine = {**machine_facts(), **session.facts}
        own = compare_with_own(bundle, reference, outputs, machine, session.compute_precision)
        seen, tolerances, notes = batch, *tolerances_of(manifest)
        if mode == "fast":
            seen, tolerances = _fast_batch(bundle, batch), coarser(tolerances, FAST_PIXELS)
            outputs = run_pixels(session, manifest, seen)
        proof = prove(
            manifest,
            outputs,
            reference=reference,
            tolerances=tolerances,
            decoding=[] if mode == "fast" else _decoding_faults(bundle, batch),
            images_source=TEXTS_SOURCE if of_texts else IMAGES_SOURCE,
            images_sha256=pixels_digest(batch),
            session=session,
            own=own,
        )
    faults = (
        *(f"stored: {fault}" for fault in stored_faults(bundle)),
        *(f"decoding: {fault}" for fault in (() if mode == "fast" else _probe_faults(bundle))),
        *(f"predictions: {fault}" for fault in prediction_faults(bundle)),
    )
    if faults:
        proof = replace(proof, verdict="fail", reasons=(*_grave(proof), *faults))
    if own is None:
        notes += ("it keeps no own outputs, as bundles made before had none: it is compared with its reference alone",)
        if manifest.weights_precision == "int8" and proof.verdict == "pass":
            why = "engine: int8 without its own outputs can't be told from a faulty model; export it again"
            proof = replace(proof, verdict="inconclusive", reasons=(why,))
    elif own.differs:
        notes += (f"not the machine that made it, so its own outputs have wider limits: {'; '.join(own.differs)}",)
    proof = replace(proof, notes=(*proof.notes, *notes))
    if mode == "exact":
        return proof
    return _of_fast_pixels(proof, levels=int(np.abs(seen.astype(np.int16) - batch).max()))


def keep_own_outputs(folder: Path, manifest: Manifest, options: SessionOptions) -> Manifest:
    """Runs the golden items of the sealed bundle in `folder`, keeps what came out in it and seals it again."""
    bundle = Bundle.open(folder)
    batch: NDArray[Any] = golden_tokens(bundle) if manifest.task == "embed-text" else _golden_batch(bundle)
    with open_session(bundle, options) as session:
        outputs = run_pixels(session, manifest, batch)
        machine = {**machine_facts(), **session.facts}
        own = record_own_outputs(folder, manifest, outputs, machine, session.compute_precision)
    manifest = replace(manifest, own=own)
    seal(folder, manifest)
    return manifest


def _run_golden(bundle: Bundle, session: Session, batch: NDArray[Any]) -> NDArray[np.float32]:
    """As `run_pixels`. Raises BundleError where the golden items are not what the graph takes."""
    try:
        return run_pixels(session, bundle.manifest, batch)
    except UsageError as error:
        raise BundleError(f"{bundle.path}: its golden items do not fit its graph ({error}); export it again") from error


def _grave(proof: Proof) -> tuple[str, ...]:
    """The reasons of a failure; what else a proof says in its place is no reason for one."""
    return proof.reasons if proof.verdict == "fail" else ()


def _of_fast_pixels(proof: Proof, levels: int) -> Proof:
    """The proof, said to be of fast pixels; inconclusive where they were the exact ones, which proves nothing new."""
    if not levels and proof.verdict == "pass":
        reason = (
            "no golden image is a JPEG large enough to be read at a part of its size; export with such --proof-data"
        )
        proof = replace(proof, verdict="inconclusive", reasons=(reason,))
    return replace(proof, max_pixel_levels=levels, machine={**proof.machine, **mode_facts("fast")})


def tolerances_of(manifest: Manifest) -> tuple[Tolerances, tuple[str, ...]]:
    """What the reference's outputs are compared by, and notes where the manifest asks for something unusual.

    A manifest may be stricter than TOLERANCES, never more lenient: what somebody relaxed does not rule. INT8, and what
    an accuracy gate chose, were measured at export and are lenient by nature; there the own outputs decide.
    """
    asked, name = manifest.tolerances, " and ".join(sorted(_precisions(manifest)))
    allowed = MOST_MEASURED if is_gated(manifest) else coarser(*(TOLERANCES[each] for each in _precisions(manifest)))
    if coarser(asked, allowed) == allowed:
        return asked, ()
    kept = stricter(asked, allowed)
    return kept, (
        f"the manifest tolerates more than {name} needs ({_in_words(asked)}); evaluated by {_in_words(kept)}",
    )


def _in_words(tolerances: Tolerances) -> str:
    return f"relative {tolerances.relative:g}, cosine {tolerances.cosine:g}, KL {tolerances.kl:g}"


def is_gated(manifest: Manifest) -> bool:
    """Whether accuracy on labelled images decided at export, and not a tolerance of logits."""
    if {manifest.weights_precision, manifest.compute_precision} == {"fp32"}:
        return False
    return manifest.weights_precision == "int8" or (
        manifest.ladder is not None and manifest.ladder.decisive is not None
    )


def _precisions(manifest: Manifest) -> set[str]:
    """What it is stored and computed in; an engine's TF32 has as many bits as fp16."""
    backend = BACKENDS.get(manifest.target)
    tf32 = {"fp16"} if manifest.state == "built" and backend is not None and backend.tf32 else set()
    stored_and_computed = {manifest.weights_precision, manifest.compute_precision}
    return {"int8" if each == "mixed" else each for each in stored_and_computed} | tf32


def prove(
    manifest: Manifest,
    outputs: NDArray[np.float32],
    *,
    reference: NDArray[np.float32],
    decoding: list[tuple[str, int] | None],
    images_source: str,
    images_sha256: str,
    session: Session,
    tolerances: Tolerances | None = None,
    own: OwnCheck | None = None,
) -> Proof:
    """The proof that follows from a session's outputs, the reference's, and the (image, levels) of decoding faults.

    Classifiers are compared by logits, encoders by embeddings. `tolerances` None: the manifest's.
    """
    tolerances = tolerances or manifest.tolerances
    if session.compute_precision != manifest.compute_precision:  # the user asked for another than the bundle's own
        tolerances = coarser(tolerances, TOLERANCES.get(session.compute_precision, tolerances))
    classifies = manifest.task == "classify"
    items, kind = "texts" if manifest.task == "embed-text" else "images", "logits" if classifies else "embeddings"
    comparison = (compare if classifies else compare_embeddings)(reference, outputs, tolerances)
    verdict, reasons = judge(comparison, tolerances, items=items, outputs=kind)
    if own is not None:
        faults = judge_own(own, items=items, outputs=kind)
        if faults:
            verdict, reasons = "fail", (*(reasons if verdict == "fail" else ()), *faults)
    if verdict == "inconclusive" and comparison.images >= ENOUGH_IMAGES:
        verdict, reasons = _by_accuracy_gate(manifest, own, reasons)
    reasons = tuple(f"engine: {reason}" for reason in reasons)
    faulty = [fault for fault in decoding if fault is not None]
    worst = max((levels for _, levels in faulty), default=0)
    if faulty:
        reasons = reasons if verdict == "fail" else ()
        verdict = "fail"
        if manifest.task == "embed-text":
            reasons += (f"tokenizer: {len(faulty)} texts come out as other tokens, such as {faulty[0][0]!r}",)
        else:
            reasons += (f"decoding: {len(faulty)} images come out up to {worst} levels off, such as {faulty[0][0]}",)
    return Proof(
        verdict=verdict,
        reasons=reasons,
        comparison=comparison,
        tolerances=tolerances,
        images_source=images_source,
        images_sha256=images_sha256,
        decoding_faults=tuple(name for name, _ in faulty),
        max_pixel_levels=worst,
        compute_precision=session.compute_precision,
        machine={**machine_facts(), **session.facts},
        created_utc=now_utc(),
        own=own,
    )


def _by_accuracy_gate(
    manifest: Manifest, own: OwnCheck | None, reasons: tuple[str, ...]
) -> tuple[Verdict, tuple[str, ...]]:
    """INT8's tolerances are so wide that every image may be a near tie; its top-1 was shown on labelled images."""
    gate = manifest.ladder.decisive if manifest.ladder else None
    if gate is None:
        return "inconclusive", reasons
    if gate.verdict == "pass":
        shown = f"every image is a near tie here; top-1 was evaluated at export, on {gate.images} images"
        return "pass", (f"it computes what it computed there; {shown}" if own else shown,)
    more = f"; {gate.images_needed} would settle it" if gate.images_needed else ""
    return "inconclusive", (f"top-1 was not settled at export, on {gate.images} images{more}",)


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
    """(what, largest difference in levels) of each golden item and probe that comes out otherwise than at export."""
    if bundle.manifest.task == "embed-text":
        return tokens_fault(bundle, batch)
    return [_decoding_fault(bundle, image, batch[i]) for i, image in enumerate(bundle.manifest.golden.images)]


def _probe_faults(bundle: Bundle) -> Iterator[str]:
    """What the made pictures show to be read otherwise than where the bundle was made."""
    pixels, probes = bundle.manifest.pixels, bundle.manifest.golden.probes
    if pixels is None:
        return
    if bundle.manifest.own is not None and not probes:
        yield "the bundle keeps own outputs without pictures of transparency and 16 bits; export it again"
    for probe in probes:
        try:
            found, _ = pixels.load(bundle.read(probe.image))
        except ImageError as error:
            yield f"the picture that shows {probe.shows} can't be read ({error})"
            continue
        if pixels_digest(found) != probe.pixels_sha256:
            yield f"{probe.shows} comes out otherwise than where the bundle was made"


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
