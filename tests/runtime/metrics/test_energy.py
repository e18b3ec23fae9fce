"""Energies and their threshold: what was planted is found, and no more false alarms than were requested."""

from __future__ import annotations

import numpy as np
import pytest

from edgeclf_runtime.errors import DataError
from edgeclf_runtime.metrics.energy import energies_of, fit_energy_threshold


def test_the_energy_is_the_log_sum_exp_of_the_logits_however_large_they_are() -> None:
    logits = np.array([[0.0, 0.0, 0.0], [1.0, 2.0, 3.0], [1000.0, 1000.0, -1000.0]], np.float32)
    wanted = [np.log(3), np.log(np.exp([1.0, 2.0, 3.0]).sum()), 1000 + np.log(2)]
    assert energies_of(logits, "softmax") == pytest.approx(wanted)


def test_the_energies_of_sigmoid_classes_add_up_and_margins_have_none() -> None:
    logits = np.array([[0.0, 2.0], [800.0, -800.0]], np.float32)
    assert energies_of(logits, "sigmoid") == pytest.approx([np.log(2) + np.log1p(np.exp(2)), 800])
    with pytest.raises(DataError, match="have no energy"):
        energies_of(logits, "margin")


@pytest.mark.parametrize("images", [1, 7, 100, 999])
@pytest.mark.parametrize("share", [0.001, 0.01, 0.1])
def test_no_more_images_lie_below_the_threshold_than_were_requested_and_no_higher_one_would_do(
    images: int, share: float
) -> None:
    energies = np.random.default_rng(images).normal(5, 2, images)
    found = fit_energy_threshold(energies, share)
    below = int((energies < found.below).sum())
    assert below == int(share * images) and (found.false_alarms, found.images) == (share, images)
    assert not (energies == found.below).any() or images == 1


def test_equal_energies_lie_on_one_side_of_the_threshold() -> None:
    energies = np.repeat([1.0, 2.0], 50)
    assert fit_energy_threshold(energies, 0.1).below < 1.0
    assert fit_energy_threshold(energies, 0.4999).below < 1.0


def test_outputs_that_are_log_probabilities_are_refused_since_their_energies_are_all_the_same() -> None:
    logits = np.random.default_rng(0).normal(size=(30, 4))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    with pytest.raises(DataError, match="as those of probabilities are"):
        fit_energy_threshold(energies_of(np.log(probabilities), "softmax"), 0.1)
    with pytest.raises(DataError, match="no images"):
        fit_energy_threshold(np.empty(0), 0.1)
