"""Thresholds of two rules for what is unknown keep to one rate of false alarms."""

from __future__ import annotations

import numpy as np
import pytest

from edgeclf_runtime.errors import DataError
from edgeclf_runtime.metrics.similarity import ClassMeans, class_means, fit_both_thresholds


@pytest.mark.parametrize("share", [0.005, 0.05, 0.2])
@pytest.mark.parametrize("alike", [True, False])
def test_both_rules_together_keep_to_the_rate(share: float, alike: bool) -> None:
    random = np.random.default_rng(0)
    energies = random.normal(size=600)
    similarities = energies / 10 if alike else random.uniform(size=600)
    energy, features = fit_both_thresholds(energies, similarities, share)
    taken = (energies < energy.below) | (similarities < features.below)
    assert taken.sum() <= share * 600
    assert taken.sum() >= share * 600 - 2  # of images that both rules take, one more would be too many


def test_one_image_too_few_takes_none() -> None:
    energies = np.array([1.0, 2.0, 3.0])
    energy, features = fit_both_thresholds(energies, energies, 0.1)
    assert energy.below < 1.0
    assert features.below < 1.0


def test_similarity_is_the_cosine_with_the_nearest_class_mean() -> None:
    rows = np.array([[1.0, 0.0], [3.0, 0.0], [0.0, 2.0]])
    means = class_means(rows, np.array([[1, 0], [1, 0], [0, 1]]))
    assert means.tolist() == [[2.0, 0.0], [0.0, 2.0]]
    assert ClassMeans(means).similarities(np.array([[5.0, 0.0], [1.0, 1.0], [0.0, 0.0]])).tolist() == pytest.approx(
        [1.0, 2**-0.5, 0.0]
    )


def test_a_class_without_training_images_has_no_mean() -> None:
    with pytest.raises(DataError, match="class 1"):
        class_means(np.ones((2, 2)), np.array([[1, 0], [1, 0]]))
