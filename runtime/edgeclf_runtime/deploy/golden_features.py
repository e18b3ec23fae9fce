"""The proof of features: the golden images' as they come out here, beside the reference's and the bundle's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.feature_info import OWN_FEATURES
from edgeclf_runtime.bundle.features import read_class_means
from edgeclf_runtime.bundle.manifest import Manifest, to_input
from edgeclf_runtime.bundle.own_check import own_tolerances
from edgeclf_runtime.bundle.own_outputs import machine_differences
from edgeclf_runtime.bundle.proof import TOLERANCES, Tolerances, coarser, compare_embeddings, deviations
from edgeclf_runtime.deploy.golden_items import in_chunks
from edgeclf_runtime.errors import BundleError
from edgeclf_runtime.session import Session

_FLOATS = ("fp32", "fp16", "bf16")
# Seen on EfficientNet-Lite0: cosines of 0.95 to 0.99 with the reference's, single numbers off by 0.57 of the range;
# features of two images have 0.63 at most. What int8 computes here is compared with its own, which is far tighter.
_INT8 = Tolerances(relative=1.0, cosine=0.8, kl=0.0)


def run_with_features(
    session: Session, manifest: Manifest, batch: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(N, H, W, 3) uint8 pixels -> logits and features of the same runs, in batches as a proof's."""
    found = [session.with_features(to_input(chunk, manifest.normalization)) for chunk in in_chunks(batch)]
    logits, features = zip(*found, strict=True)
    return np.concatenate(logits), np.concatenate(features)


def write_own_features(folder: Path, manifest: Manifest, session: Session, batch: NDArray[np.uint8]) -> None:
    """Keeps what the finished model gives for the golden images, where it has features."""
    if manifest.features is not None:
        np.save(folder / OWN_FEATURES, run_with_features(session, manifest, batch)[1], allow_pickle=False)


def feature_faults(
    bundle: Bundle, session: Session, batch: NDArray[np.uint8], machine: Mapping[str, str]
) -> Iterator[str]:
    """In words, where features differ from the reference's, or from those where the bundle was made.

    Nothing for a bundle without features. Raises BundleError where what it keeps does not fit them.
    """
    manifest, info, own = bundle.manifest, bundle.manifest.features, bundle.manifest.own
    if info is None:
        return
    read_class_means(bundle)
    found = run_with_features(session, manifest, batch)[1]
    yield from _deviations(bundle, info.reference, found, _of_reference(manifest, session), "the reference's")
    if own is not None:
        differs = any(machine_differences(own, machine, session.compute_precision))
        computed = {own.compute_precision, session.compute_precision}
        tolerances = own_tolerances(manifest.weights_precision, computed, differs)
        yield from _deviations(bundle, info.own, found, tolerances, "those where this bundle was made")


def _of_reference(manifest: Manifest, session: Session) -> Tolerances:
    both = (manifest.weights_precision, session.compute_precision)
    return coarser(*(TOLERANCES[each] if each in _FLOATS else _INT8 for each in both))


def _deviations(
    bundle: Bundle, path: str, found: NDArray[np.float32], tolerances: Tolerances, whose: str
) -> Iterator[str]:
    wanted = bundle.read_array(path)
    if wanted.shape != found.shape:
        raise BundleError(f"{bundle.path}/{path}: features {wanted.shape} for {found.shape}; export it again")
    comparison = compare_embeddings(wanted, found, tolerances)
    if beyond := deviations(comparison, tolerances, "images", "features"):
        yield f"{'; '.join(beyond)} from {whose}"
