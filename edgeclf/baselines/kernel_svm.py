"""Fits the baseline's support vector machine with scikit-learn, and cross-validates it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.backends.engine import missing_engine
from edgeclf_runtime.backends.hog_svm import scale_features
from edgeclf_runtime.backends.svm import Svm
from edgeclf_runtime.metrics.intervals import number_groups
from edgeclf_runtime.progress import SILENT, Progress

PENALTY = 10.0
_MOST_IN_ONE_KERNEL = 12_000  # images: the float64 kernel of so many takes 1.2 GB


@dataclass(frozen=True, slots=True)
class Scaled:
    """(N, 1764) features of training images as standard scores, and the gamma that scikit-learn's "scale" gives them.

    Up to 12,000 images the kernel matrix is made by one matrix product and handed to libsvm, whose own loop over pairs
    of images takes several times as long; the solution is the same.
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    features: NDArray[np.float32]
    gamma: float
    precomputed: bool

    def rows_for(self, scaled: NDArray[np.float32]) -> NDArray[np.floating]:
        """What a classifier takes for these standard scores: their kernel with the training images, or themselves."""
        return _kernel(scaled, self.features, self.gamma) if self.precomputed else scaled


@dataclass(frozen=True, slots=True)
class Fitted:
    """A support vector machine as plain arrays, and as scikit-learn's own object beside it.

    `classes` holds the labels that occurred.
    """

    svm: Svm
    classes: NDArray[np.intp]
    classifier: Any
    scaled: Scaled

    def margins(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """(N, 1764) -> (N, classes): scikit-learn's decision function, two classes as -d and d."""
        rows = self.scaled.rows_for(scale_features(features, self.svm.mean, self.svm.scale))
        decisions = self.classifier.decision_function(rows)
        return np.asarray(decisions if decisions.ndim == 2 else np.stack([-decisions, decisions], axis=1))

    def predict(self, features: NDArray[np.float32]) -> NDArray[np.intp]:
        """(N,) labels: the classes with the largest margins."""
        return np.asarray(self.classes[self.margins(features).argmax(axis=1)])


def fit_svm(features: NDArray[np.float32], labels: NDArray[np.intp]) -> Fitted:
    """StandardScaler and SVC(C=10, gamma="scale") on features (N, 1764) and labels (N,) of at least two classes."""
    scaled = scale(features)
    classifier = make_classifier(scaled).fit(scaled.rows_for(scaled.features), labels)
    svm = Svm(
        mean=scaled.mean,
        scale=scaled.scale,
        support_vectors=scaled.features[classifier.support_],
        support_counts=classifier.n_support_.astype(np.int64),
        dual_coefficients=np.ascontiguousarray(classifier.dual_coef_, dtype=np.float64),
        intercepts=np.asarray(classifier.intercept_, dtype=np.float64),
        gamma=np.array(scaled.gamma),
    )
    return Fitted(svm, np.asarray(classifier.classes_), classifier, scaled)


def scale(features: NDArray[np.float32]) -> Scaled:
    """scikit-learn's StandardScaler on (N, 1764) features."""
    try:
        from sklearn.preprocessing import StandardScaler
    except ImportError as error:
        raise missing_engine("scikit-learn", "baseline", error) from error
    scaler = StandardScaler().fit(features.astype(np.float64))
    scaled = scale_features(features, scaler.mean_, scaler.scale_)
    variance = float(scaled.var(dtype=np.float64))
    gamma = 1.0 / (scaled.shape[1] * variance) if variance > 0 else 1.0
    return Scaled(scaler.mean_, scaler.scale_, scaled, gamma, len(scaled) <= _MOST_IN_ONE_KERNEL)


def make_classifier(scaled: Scaled) -> Any:
    """scikit-learn's SVC, not yet fitted, on rows as `scaled` gives them."""
    from sklearn.svm import SVC

    if scaled.precomputed:
        return SVC(C=PENALTY, kernel="precomputed")
    return SVC(C=PENALTY, kernel="rbf", gamma=scaled.gamma, cache_size=1000)


def cross_validate(
    features: NDArray[np.float32],
    labels: NDArray[np.intp],
    folds: int,
    *,
    groups: Sequence[str | None] | None = None,
    seed: int = 0,
    progress: Progress = SILENT,
) -> tuple[float, ...]:
    """Accuracy of each fold, stratified and shuffled by `seed`; images of one group stay in one fold.

    Fewer folds where a class has fewer images (or groups) than that; none where it has only one.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    numbers = number_groups(groups)
    units = labels if numbers is None else np.unique(np.stack([labels, numbers]), axis=1)[0]
    folds = min(folds, int(np.unique(units, return_counts=True)[1].min()))
    if folds < 2:
        return ()
    kind = StratifiedKFold if numbers is None else StratifiedGroupKFold
    parts = kind(folds, shuffle=True, random_state=seed).split(features, labels, numbers)
    accuracies = []
    for train, held_out in progress.track(parts, folds, "cross-validate"):
        fitted = fit_svm(features[train], labels[train])
        accuracies.append(float((fitted.predict(features[held_out]) == labels[held_out]).mean()))
    return tuple(accuracies)


def _kernel(rows: NDArray[np.float32], columns: NDArray[np.float32], gamma: float) -> NDArray[np.float64]:
    from sklearn.metrics.pairwise import rbf_kernel

    return np.asarray(rbf_kernel(rows.astype(np.float64), columns.astype(np.float64), gamma=gamma))
