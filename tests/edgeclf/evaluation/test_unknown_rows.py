"""The words beside the figures on unknown images fit the task: of several labels a known image may have none."""

from __future__ import annotations

import pytest

from edgeclf.evaluation.evaluation_report import UnknownEvaluation
from edgeclf.evaluation.unknown_rows import unknown_rows

FOUND = UnknownEvaluation(
    images=8,
    known_images=9,
    auroc=0.9,
    auroc_interval=None,
    auroc_of_score=0.8,
    missed=0.5,
    missed_interval=None,
    false_alarms=0.1,
    false_alarms_interval=None,
    known_without_label=2,
)


@pytest.mark.parametrize("several_labels", [False, True])
def test_only_where_an_image_has_one_label_are_known_images_said_to_be_of_a_class(several_labels: bool) -> None:
    said = " ".join(how for _, _, _, how in unknown_rows(FOUND, several_labels=several_labels))
    assert ("class" in said, "get a label" in said) == (not several_labels, several_labels)
