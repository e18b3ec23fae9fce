"""Proves a bundle on this machine from its golden images alone: files, decoding, engine and predictions apart."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.bundle.atomic_write import seal
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.manifest import Manifest, to_input
from edgeclf_runtime.bundle.own_check import own_failures
from edgeclf_runtime.bundle.own_outputs import compare_with_own, prediction_faults, record_own_outputs
from edgeclf_runtime.bundle.proof import (
    ENOUGH_IMAGES,
    FAST_PIXELS,
    TOLERANCES,
    OwnCheck,
    Proof,
    Tolerances,
    coarser,
    compare,
    compare_embeddings,
    verdict_of,
)
from edgeclf_runtime.deploy.golden_features import feature_faults, write_own_features
from edgeclf_runtime.deploy.golden_items import (
    decoding_faults,
    fast_batch,
    golden_batch,
    in_chunks,
    pixels_digest,
    probe_faults,
)
from edgeclf_runtime.deploy.tolerances import tolerances_of
from edgeclf_runtime.errors import BundleError, UsageError
from edgeclf_runtime.images.pixels import PixelMode, mode_facts
from edgeclf_runtime.machine.facts import machine_facts, now_utc
from edgeclf_runtime.metrics.verdict import Verdict
from edgeclf_runtime.session import Session, open_session, stored_faults
from edgeclf_runtime.text.golden_texts import golden_tokens

IMAGES_SOURCE, TEXTS_SOURCE = "golden images", "golden texts"


def verify(
    bundle: str | os.PathLike[str] | Bundle,
    options: SessionOptions = SessionOptions(),
    mode: PixelMode = "exact",
    open_bundle: Callable[[Bundle, SessionOptions], Session] = open_session,
) -> Proof:
    """This machine's proof of a bundle, opened or at a path. Nothing is written; `save_proof` keeps it.

    Each of these is checked apart, so that the cause of a fault is known.

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
        `verdict` is "pass", "fail" or "inconclusive", `reasons` explain it.

    Raises
    ------
    BundleError
        A file was changed.
    BackendError
        The engine can't be opened as the manifest requires.

    Examples
    --------
    >>> from edgeclf_runtime import Bundle, verify
    >>> proof = verify(Bundle.open("bundles/scenes"))
    >>> proof.verdict, proof.reasons
    ('pass', ())
    """
    if mode not in get_args(PixelMode):
        raise UsageError(f"no pixel mode {mode!r}; choose one of {', '.join(get_args(PixelMode))}")
    bundle = Bundle.open(bundle)
    bundle.check_all()
    manifest = bundle.manifest
    of_texts = manifest.task == "embed-text"
    batch: NDArray[Any] = golden_tokens(bundle) if of_texts else golden_batch(bundle)
    reference = bundle.read_array(manifest.golden.outputs)
    with open_bundle(bundle, options) as session:
        outputs = _run_golden(bundle, session, batch)
        if outputs.shape != reference.shape:
            raise BundleError(
                f"{bundle.path}: reference outputs {reference.shape} for outputs of {outputs.shape}; export it again"
            )
        machine = {**machine_facts(), **session.facts}
        own = compare_with_own(bundle, reference, outputs, machine, session.compute_precision)
        of_features = tuple(feature_faults(bundle, session, batch, machine))
        seen, tolerances, notes = batch, *tolerances_of(manifest)
        if mode == "fast":
            seen, tolerances = fast_batch(bundle, batch), coarser(tolerances, FAST_PIXELS)
            outputs = run_pixels(session, manifest, seen)
        proof = prove(
            manifest,
            outputs,
            reference=reference,
            tolerances=tolerances,
            decoding=[] if mode == "fast" else decoding_faults(bundle, batch),
            images_source=TEXTS_SOURCE if of_texts else IMAGES_SOURCE,
            images_sha256=pixels_digest(batch),
            session=session,
            own=own,
        )
    faults = (
        *(f"features: {fault}" for fault in of_features),
        *(f"stored: {fault}" for fault in stored_faults(bundle)),
        *(f"decoding: {fault}" for fault in (() if mode == "fast" else probe_faults(bundle))),
        *(f"predictions: {fault}" for fault in prediction_faults(bundle)),
    )
    if faults:
        proof = replace(proof, verdict="fail", reasons=(*_failures(proof), *faults))
    if own is None:
        notes += ("made by an earlier version, it keeps no own outputs: it is compared with its reference alone",)
        if manifest.weights_precision == "int8" and proof.verdict == "pass":
            why = "engine: int8 without its own outputs can't be distinguished from a faulty model; export it again"
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
    batch: NDArray[Any] = golden_tokens(bundle) if manifest.task == "embed-text" else golden_batch(bundle)
    with open_session(bundle, options) as session:
        outputs = run_pixels(session, manifest, batch)
        machine = {**machine_facts(), **session.facts}
        write_own_features(folder, manifest, session, batch)
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


def _failures(proof: Proof) -> tuple[str, ...]:
    """The reasons of a failure; what a proof lists beside them is no reason for one."""
    return proof.reasons if proof.verdict == "fail" else ()


def _of_fast_pixels(proof: Proof, levels: int) -> Proof:
    """The proof, marked as of fast pixels; inconclusive where they were the exact ones, which proves nothing new."""
    if not levels and proof.verdict == "pass":
        reason = (
            "no golden image is a JPEG large enough to be read at a part of its size; export with such --proof-data"
        )
        proof = replace(proof, verdict="inconclusive", reasons=(reason,))
    return replace(proof, max_pixel_levels=levels, machine={**proof.machine, **mode_facts("fast")})


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
    if session.compute_precision != manifest.compute_precision:  # the user chose another than the bundle's own
        tolerances = coarser(tolerances, TOLERANCES.get(session.compute_precision, tolerances))
    classifies = manifest.task == "classify"
    items, kind = "texts" if manifest.task == "embed-text" else "images", "logits" if classifies else "embeddings"
    if classifies:
        comparison = compare(reference, outputs, tolerances, manifest.label_logits)
    else:
        comparison = compare_embeddings(reference, outputs, tolerances)
    verdict, reasons = verdict_of(comparison, tolerances, items=items, outputs=kind)
    if own is not None:
        faults = own_failures(own, items=items, outputs=kind)
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
    """INT8's tolerances are so wide that everything may be a near tie; its accuracy was shown on labelled images."""
    gate = manifest.ladder.decisive if manifest.ladder else None
    if gate is None:
        return "inconclusive", reasons
    if gate.verdict == "pass":
        all_near = "every image is a near tie" if gate.metric == "top-1" else "every label is near its threshold"
        shown = f"{all_near} here; {gate.metric} was evaluated at export, on {gate.images} images"
        return "pass", (f"it computes what it computed there; {shown}" if own else shown,)
    more = f"; {gate.images_needed} would settle it" if gate.images_needed else ""
    return "inconclusive", (f"{gate.metric} was not settled at export, on {gate.images} images{more}",)


def run_pixels(
    session: Session, manifest: Manifest, batch: NDArray[Any], *, batch_size: int = 8
) -> NDArray[np.float32]:
    """(N, H, W, 3) uint8 pixels, or (N, context) tokens -> outputs, in batches of `batch_size` and some alone."""
    inputs = (to_input(chunk, manifest.normalization) for chunk in in_chunks(batch, batch_size))
    return np.concatenate(list(session.stream(inputs)))
