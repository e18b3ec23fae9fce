"""Temperature scaling: the one number that makes a classifier's probabilities honest, fitted on validation images."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.errors import DataError
from edgeclf_runtime.metrics.logits import log_softmax
from edgeclf_runtime.metrics.metrics import negative_log_likelihood
from edgeclf_runtime.metrics.temperature_fit import ENOUGH_WRONG, TemperatureFit

COLDEST, HOTTEST = 0.05, 20.0
PRIOR_LOG_STD = math.log(2)  # before any image is seen, two of three networks lie within half and twice
_HALVINGS = 30
_FOLDS, _FEW_FOLDS, _MANY_LOGITS = 5, 2, 5_000_000


def fit_temperature(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> TemperatureFit:
    """The T for softmax(logits / T) (Guo et al., ICML 2017), held near 1 where the images leave it open, else 1.

    It is the maximum a posteriori of a log-normal prior around 1 and the likelihood of the images, which weighs
    wrong / (wrong + 10). Without the weight, images that are all predicted rightly would drive T to 0, however few: how
    sure a network may be shows in its errors. With thousands of images T is the most likely one. T is 1
    unless fitting lowers the negative log-likelihood of held-out images, in cross-validation among these.

    Raises DataError where there is no image.
    """
    return _fit(logits.astype(np.float64), labels, 1)


def fit_label_temperature(logits: NDArray[np.floating], targets: NDArray[np.generic]) -> TemperatureFit:
    """The T for sigmoid(logits / T) where images have several labels: (N, labels) logits and targets of 0 and 1.

    As `fit_temperature`, for a label is a choice between 0 and its logit. The negative log-likelihood is that of a
    label, the mean over all; an image is predicted wrongly where one of its labels is, at a probability of 0.5.

    Raises DataError where there is no image.
    """
    decisions = logits.astype(np.float64).reshape(-1)
    pairs = np.stack([np.zeros_like(decisions), decisions], axis=1)
    return _fit(pairs, targets.reshape(-1).astype(np.intp), logits.shape[1])


def _fit(values: NDArray[np.float64], labels: NDArray[np.integer], each: int) -> TemperatureFit:
    """For (N * each, C) logits and (N * each,) labels: the decisions of an image, `each` of them, stand together."""
    if not len(labels):
        raise DataError("no images to fit a temperature on")
    values = values - values.max(axis=1, keepdims=True)
    wrong = (values[np.arange(len(labels)), labels] < 0).reshape(-1, each).any(axis=1)
    before = negative_log_likelihood(values, labels)
    after = _held_out_nll(values, labels, wrong)
    temperature = _most_probable(values, labels) if after < before else 1.0
    return TemperatureFit(temperature, len(wrong), int(wrong.sum()), before, after)


def _held_out_nll(values: NDArray[np.float64], labels: NDArray[np.integer], wrong: NDArray[np.bool_]) -> float:
    """Of each image at the temperature that the images of the other folds give; wrong ones are dealt out evenly."""
    images, each = len(wrong), len(labels) // len(wrong)
    folds = min(_FOLDS if values.size <= _MANY_LOGITS else _FEW_FOLDS, images)
    if folds < 2:
        return negative_log_likelihood(values, labels)
    shuffled = np.random.default_rng(0).permutation(images)
    order = shuffled[np.argsort(wrong[shuffled], kind="stable")]
    total = 0.0
    for fold in range(folds):
        chosen = order[fold::folds]
        held_out, others = _rows(chosen, each), _rows(np.setdiff1d(order, chosen), each)
        temperature = _most_probable(values[others], labels[others])
        total += negative_log_likelihood(values[held_out], labels[held_out], temperature) * len(held_out)
    return total / len(labels)


def _rows(images: NDArray[np.intp], each: int) -> NDArray[np.intp]:
    """The numbers of the decisions of these images."""
    return (images[:, None] * each + np.arange(each)).reshape(-1)


def _most_probable(values: NDArray[np.float64], labels: NDArray[np.integer]) -> float:
    """The maximum a posteriori, by halving an interval of log(1 / T).

    The negative log-likelihood is convex in 1 / T with the slope E[logit] - logit of the right class, the prior's is
    convex in log(1 / T), and both fall towards the interval between 1 and the most likely T.
    """
    right = values[np.arange(len(labels)), labels]
    wrong = int((right < 0).sum())
    weight = wrong / (wrong + ENOUGH_WRONG)

    def slope(log_inverse: float) -> float:
        inverse = math.exp(log_inverse)
        likely = np.exp(log_softmax(values * inverse))
        return weight * inverse * float(((likely * values).sum(axis=1) - right).sum()) + log_inverse / PRIOR_LOG_STD**2

    if not weight:
        return 1.0
    low, high = math.log(1 / HOTTEST), math.log(1 / COLDEST)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return math.exp(-(low + high) / 2)
