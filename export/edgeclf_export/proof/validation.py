"""What a bundle learns from validation images: a summary for drift, and thresholds of its own features."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeclf_export.proof.features import thresholds_of_both
from edgeclf_export.proof.images import ProofImages
from edgeclf_runtime.bundle.feature_info import CLASS_MEANS
from edgeclf_runtime.bundle.manifest import Manifest
from edgeclf_runtime.deploy.golden_features import run_with_features
from edgeclf_runtime.deploy.verify import run_pixels
from edgeclf_runtime.metrics.similarity import ClassMeans
from edgeclf_runtime.monitoring.image_statistics import image_statistics
from edgeclf_runtime.monitoring.summary import VALIDATION, ValidationCounter
from edgeclf_runtime.session import Session


def learn_from_validation(
    draft: Path, manifest: Manifest, images: ProofImages, outputs: NDArray[np.float32], session: Session
) -> Manifest:
    """Keeps how the validation images look and are predicted, for `edgeclf drift` to compare with.

    Of a bundle with features the thresholds of what is unknown are chosen on them, too: the manifest with these.
    """
    if not images.validation:
        _write_summary(draft, images.summary)
        return manifest
    looks, logits, features = [*map(image_statistics, images.pixels)], [outputs], []
    if manifest.features is not None:
        features.append(run_with_features(session, manifest, images.batch)[1])
    for batch in images.more_validation():
        looks += map(image_statistics, batch)
        if manifest.features is None:
            logits.append(run_pixels(session, manifest, batch))
        else:
            rows, of_same_run = run_with_features(session, manifest, batch)
            logits.append(rows)
            features.append(of_same_run)
    similarities = None
    if features:
        means = ClassMeans(np.load(draft / CLASS_MEANS, allow_pickle=False))
        both = thresholds_of_both(manifest, means, np.concatenate(logits), np.concatenate(features))
        manifest = replace(manifest, thresholds=both)
        similarities = means.similarities(np.concatenate(features))
    counter = ValidationCounter(manifest)
    counter.add(looks, np.concatenate(logits), similarities)
    _write_summary(draft, counter.summary().to_bytes())
    return manifest


def _write_summary(draft: Path, summary: bytes | None) -> None:
    if summary is not None:
        (draft / VALIDATION).parent.mkdir(exist_ok=True)
        (draft / VALIDATION).write_bytes(summary)
