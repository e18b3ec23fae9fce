"""Validation figures of one epoch, from logits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeclf.training.inputs.batches import TrainingImages
from edgeclf_runtime.metrics.average_precision import weighted_mean_average_precision
from edgeclf_runtime.metrics.logits import log_softmax
from edgeclf_runtime.metrics.multilabel import macro_f1


def score(logits: NDArray[np.float32], images: TrainingImages) -> dict[str, float]:
    """Loss in nats and the figures that fit: top-1 and macro-F1, or mAP and macro-F1 where images have several labels.

    Macro-F1 is over the classes that have images.
    """
    if images.multi_label:
        return _score_labels(logits.astype(np.float64), images.labels.astype(np.bool_))
    from sklearn.metrics import f1_score

    labels = images.labels
    log_p, predicted = log_softmax(logits.astype(np.float64)), logits.argmax(axis=1)
    return {
        "val_loss": float(-log_p[np.arange(len(labels)), labels].mean()),
        "val_top1": float((predicted == labels).mean()),
        "val_macro_f1": float(f1_score(labels, predicted, labels=np.unique(labels), average="macro", zero_division=0)),
    }


def _score_labels(logits: NDArray[np.float64], right: NDArray[np.bool_]) -> dict[str, float]:
    """Binary cross-entropy, mAP, and macro-F1 at a probability of 0.5."""
    once = np.ones((1, len(right)))
    return {
        "val_loss": float((np.logaddexp(0, logits) - logits * right).mean()),
        "val_map": float(weighted_mean_average_precision(once, logits, right)[0]),
        "val_macro_f1": macro_f1(right, logits >= 0),
    }
