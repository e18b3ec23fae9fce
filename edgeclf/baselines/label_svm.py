"""A support vector machine for each of several labels: fitted, cross-validated, and made to give probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeclf.baselines.kernel_svm import Scaled, make_classifier, scale
from edgeclf_runtime.backends.hog_svm import scale_features
from edgeclf_runtime.backends.svm import LabelSvm
from edgeclf_runtime.metrics.average_precision import weighted_mean_average_precision
from edgeclf_runtime.metrics.intervals import number_groups
from edgeclf_runtime.progress import SILENT, Progress

_NO_PENALTY = 1e6


@dataclass(frozen=True, slots=True)
class FittedLabels:
    """One of scikit-learn's classifiers a label, and the scale and offset that make a logit of its margin.

    `classifiers`: None where all images have the label, or none has: its margin is then `constants`, 1 or -1.
    """

    classifiers: tuple[Any, ...]
    constants: NDArray[np.float64]
    scaled: Scaled
    slopes: NDArray[np.float64]
    offsets: NDArray[np.float64]

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """(N, 1764) -> (N, labels): scikit-learn's decision functions, scaled and shifted."""
        return self.margins(features) * self.slopes + self.offsets

    def margins(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """(N, 1764) -> (N, labels), above 0 where a label is predicted."""
        found = np.tile(self.constants, (len(features), 1))
        rows = self.scaled.rows_for(scale_features(features, self.scaled.mean, self.scaled.scale))
        for number, classifier in enumerate(self.classifiers):
            if classifier is not None:
                found[:, number] = classifier.decision_function(rows)
        return found

    @property
    def svm(self) -> LabelSvm:
        """As plain arrays; the support vectors of all labels together."""
        known = [(number, each) for number, each in enumerate(self.classifiers) if each is not None]
        used = np.unique(np.concatenate([np.zeros(1, dtype=np.int64), *(each.support_ for _, each in known)]))
        duals = np.zeros((len(self.classifiers), len(used)))
        intercepts = self.constants.copy()
        for number, each in known:
            duals[number, np.searchsorted(used, each.support_)] = each.dual_coef_[0]
            intercepts[number] = each.intercept_[0]
        return LabelSvm(
            mean=self.scaled.mean,
            scale=self.scaled.scale,
            support_vectors=self.scaled.features[used],
            dual_coefficients=duals * self.slopes[:, None],
            intercepts=intercepts * self.slopes + self.offsets,
            gamma=np.array(self.scaled.gamma),
        )


def fit_label_svms(features: NDArray[np.float32], targets: NDArray[np.generic]) -> FittedLabels:
    """On features (N, 1764) and targets (N, labels) of 0 and 1, each label with the options of the single classifier.

    Logits are margins until `with_probabilities` has seen validation images.
    """
    scaled = scale(features)
    having = targets.astype(np.bool_)
    varied = np.ptp(having.astype(np.int8), axis=0) > 0
    rows, labels = scaled.rows_for(scaled.features), having.shape[1]
    classifiers = tuple(
        make_classifier(scaled).fit(rows, having[:, number]) if varied[number] else None for number in range(labels)
    )
    constants = np.where(varied, 0.0, np.where(having[0], 1.0, -1.0))
    return FittedLabels(classifiers, constants, scaled, np.ones(labels), np.zeros(labels))


def with_probabilities(
    fitted: FittedLabels, features: NDArray[np.float32], targets: NDArray[np.generic]
) -> FittedLabels:
    """The same with the scale and offset of each label that make its sigmoid a probability on these images.

    By logistic regression with Platt's softened targets (Platt, 1999), which keep few images from making it sure.
    Margins stay as they are for a label that none of the images has, or all have.
    """
    from sklearn.linear_model import LogisticRegression

    slopes, offsets = fitted.slopes.copy(), fitted.offsets.copy()
    margins, having = fitted.margins(features), targets.astype(np.bool_)
    for number in range(having.shape[1]):
        there = int(having[:, number].sum())
        if fitted.classifiers[number] is None or there in (0, len(having)):
            continue
        likely = np.where(having[:, number], (there + 1) / (there + 2), 1 / (len(having) - there + 2))
        both = np.repeat(margins[:, number], 2)[:, None]  # each image as a part that has it, and one that has not
        found = LogisticRegression(C=_NO_PENALTY).fit(
            both,
            np.tile([True, False], len(having)),
            sample_weight=np.stack([likely, 1 - likely], axis=1).reshape(-1),
        )
        if found.coef_[0, 0] > 0:  # else the margins say nothing about these images
            slopes[number], offsets[number] = found.coef_[0, 0], found.intercept_[0]
    return replace(fitted, slopes=slopes, offsets=offsets)


def cross_validate_labels(
    features: NDArray[np.float32],
    targets: NDArray[np.generic],
    folds: int,
    *,
    groups: Sequence[str | None] | None = None,
    seed: int = 0,
    progress: Progress = SILENT,
) -> tuple[float, ...]:
    """mAP of each fold, shuffled by `seed`; images of one group stay in one fold. Empty where there are too few."""
    from sklearn.model_selection import KFold

    numbers = number_groups(groups)
    unit_of = np.arange(len(features)) if numbers is None else numbers
    units = np.unique(unit_of)
    folds = min(folds, len(units))
    if folds < 2:
        return ()
    found = []
    parts = KFold(folds, shuffle=True, random_state=seed).split(units)
    for _, chosen in progress.track(parts, folds, "cross-validate"):
        there = np.isin(unit_of, units[chosen])
        train, held_out = np.flatnonzero(~there), np.flatnonzero(there)
        margins = fit_label_svms(features[train], targets[train]).margins(features[held_out])
        once = np.ones((1, len(held_out)))
        found.append(float(weighted_mean_average_precision(once, margins, targets[held_out].astype(np.bool_))[0]))
    return tuple(found)
