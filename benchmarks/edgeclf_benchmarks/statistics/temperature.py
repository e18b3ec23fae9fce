"""Temperature scaling: the one number that makes a classifier's probabilities honest, fitted on validation images."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.errors import DataError
from edgeclf_runtime.proof import log_softmax

COLDEST, HOTTEST = 0.05, 20.0
_HALVINGS = 60


def fit_temperature(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """The T that makes softmax(logits / T) most likely on these images (Guo et al., ICML 2017), within 0.05..20.

    The negative log-likelihood is convex in 1 / T with the slope E[logit] - logit of the right class, so halving an
    interval of 1 / T finds the minimum, and it is never above that of T = 1.
    """
    if not len(labels):
        raise DataError("no images to fit a temperature on")
    values = logits.astype(np.float64)
    values = values - values.max(axis=1, keepdims=True)
    right = values[np.arange(len(labels)), labels]

    def slope(inverse: float) -> float:
        likely = np.exp(log_softmax(values * inverse))
        return float(((likely * values).sum(axis=1) - right).mean())

    low, high = math.log(1 / HOTTEST), math.log(1 / COLDEST)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(math.exp(middle)) < 0 else (low, middle)
    return math.exp(-(low + high) / 2)
