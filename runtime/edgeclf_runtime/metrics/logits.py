"""Logits: their softmax, or the sigmoid of each, and how far two of them lie apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def kl_divergences(wanted: NDArray[np.float64], found: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, classes) log probabilities -> (N,) KL(wanted || found) in nats; never below 0, as rounding alone could be."""
    return np.asarray(np.maximum((np.exp(wanted) * (wanted - found)).sum(axis=1), 0.0))


def binary_kl_divergences(wanted: NDArray[np.float64], found: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, labels) logits -> KL(wanted || found) of each label's own two outcomes, by the sigmoid, in nats."""
    there, absent = (np.logaddexp(0.0, sign * found) - np.logaddexp(0.0, sign * wanted) for sign in (-1, 1))
    likely = 0.5 * (1.0 + np.tanh(0.5 * wanted))
    return np.asarray(np.maximum(likely * there + (1.0 - likely) * absent, 0.0))


def log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, classes) logits -> log probabilities, stable for large logits."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))
