"""The evaluation of predictions on corrupted images, on numbers small enough to count."""

from __future__ import annotations

import numpy as np
import pytest

from edgeclf_runtime.metrics.intervals import Resampling
from edgeclf_runtime.metrics.robustness import Numbers, Robustness, robustness_of

WAYS = (("noise", 1), ("noise", 2), ("blur", 1))


def _found(lost: tuple[int, int, int], images: int = 100, *, margin: float = 1.0) -> Robustness:
    """A row that loses the first images of each way, against a reference that is always right; all of class 0."""
    labels = np.zeros(images, dtype=np.intp)
    corrupted = np.zeros((3, images), dtype=np.intp)
    for way, count in enumerate(lost):
        corrupted[way, :count] = 1
    row = Numbers(labels, corrupted)
    reference = Numbers(labels, np.zeros((3, images), dtype=np.intp))
    return robustness_of(WAYS, row, reference, labels, Resampling(images), margin_points=margin)


def test_each_corruption_is_counted_and_paired_with_the_reference() -> None:
    found = _found((0, 10, 20))
    assert [(each.name, each.level) for each in found.entries] == list(WAYS)
    assert [each.value for each in found.entries] == pytest.approx([1.0, 0.9, 0.8])
    assert [each.lost_from_clean for each in found.entries] == [0, 10, 20]
    assert [each.agreement for each in found.entries] == pytest.approx([1.0, 0.9, 0.8])
    assert [each.change_points for each in found.entries] == pytest.approx([0.0, -10.0, -20.0])
    assert (found.clean_value, found.clean_change_points) == (1.0, 0.0)
    assert found.mean_value == pytest.approx(0.9) and found.mean_change_points == pytest.approx(-10.0)
    interval = found.mean_change_interval_points
    assert interval is not None and interval.low < -10 < interval.high
    assert found.worst is not None and (found.worst.name, found.worst.level) == ("blur", 1)


def test_a_loss_on_corrupted_images_fails_though_clean_accuracy_is_whole() -> None:
    found = _found((0, 10, 20))
    assert found.clean_change_points == 0.0 and found.verdict == "fail"
    assert "falls by more than 1 point:" in found.reason


def test_nothing_lost_on_few_images_is_no_proof() -> None:
    few, many = _found((0, 0, 0), 50), _found((0, 0, 0), 1000)
    assert few.verdict == "inconclusive" and few.lower_bound_points is not None and few.lower_bound_points < -3
    assert many.verdict == "pass" and many.worst is None
    assert many.mean_change_interval_points is None


def test_the_margin_decides() -> None:
    assert _found((0, 10, 20), margin=20.0).verdict == "pass"
    doubtful = _found((0, 10, 20), margin=10.0)
    assert doubtful.verdict == "inconclusive"
    assert "90 %: each end is a one-sided 95 % bound" in doubtful.reason


def test_the_reference_is_compared_with_nothing() -> None:
    labels = np.zeros(10, dtype=np.intp)
    row = Numbers(labels, np.ones((3, 10), dtype=np.intp))
    found = robustness_of(WAYS, row, None, labels, Resampling(10), margin_points=1.0)
    assert found.mean_value == 0.0
    assert found.verdict is found.mean_change_points is found.clean_change_points is found.worst is None
    assert all(each.agreement is each.change_points is None for each in found.entries)


def test_whole_groups_are_drawn_where_images_come_in_groups() -> None:
    labels = np.zeros(100, dtype=np.intp)
    corrupted = np.zeros((3, 100), dtype=np.intp)
    corrupted[:, :20] = 1
    other = Numbers(labels, np.zeros((3, 100), dtype=np.intp))
    groups = np.arange(100, dtype=np.intp) // 20
    alone, grouped = (
        robustness_of(WAYS, Numbers(labels, corrupted), other, labels, Resampling(100, each), margin_points=1.0)
        for each in (None, groups)
    )
    bounds = [each.lower_bound_points for each in (alone, grouped)]
    assert bounds[0] is not None and bounds[1] is not None and bounds[1] < bounds[0]
