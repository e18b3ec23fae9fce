"""Predictions under thresholds, computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from edgeclf_benchmarks.measuring.thresholds import Decided, decided
from edgeclf_runtime.bundle.manifest import Thresholds
from edgeclf_runtime.metrics.rounding import in_ms, significant

SCORES = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.7, 0.3]])
LABELS = np.array([0, 0, 1, 1])


def test_the_share_of_unknown_images_and_the_accuracy_on_the_others() -> None:
    assert decided(SCORES, LABELS, Thresholds()) is None
    found = decided(SCORES, LABELS, Thresholds(unknown_below=0.65))
    assert found == Decided("unknown below 0.65", 0.25, pytest.approx(2 / 3))
    by_class = decided(SCORES, LABELS, Thresholds(per_class=(0.8, 0.9)))
    assert by_class == Decided("unknown below 0.8 to 0.9 by class", 0.75, 1.0)
    assert decided(SCORES, LABELS, Thresholds(unknown_below=0.95)) == Decided("unknown below 0.95", 1.0, None)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1450.2, "1,450"),
        (999.7, "1,000"),
        (37.04, "37"),
        (0.02712, "0.0271"),
        (1.0, "1"),
        (0.0, "0"),
        (123456, "123,456"),
    ],
)
def test_figures_have_no_exponent_where_a_number_will_do(value: float, shown: str) -> None:
    assert significant(value) == shown


def test_milliseconds_keep_two_decimals_up_to_a_second() -> None:
    assert [in_ms(each) for each in (0.1234, 3.2, 999.0, 1450.2)] == ["0.123", "3.20", "999.00", "1,450"]
