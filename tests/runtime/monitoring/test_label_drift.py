"""Drift where an image may have several labels: each is counted, and none; planted changes are found and named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
from numpy.typing import NDArray

from edgeclf_runtime.bundle.atomic_write import seal
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.decision import decide
from edgeclf_runtime.bundle.manifest import Thresholds
from edgeclf_runtime.errors import DataError
from edgeclf_runtime.monitoring.counter import PredictionCounter
from edgeclf_runtime.monitoring.drift import Drift, find_drift
from edgeclf_runtime.monitoring.summary import VALIDATION, Summary, ValidationCounter, parse_summary

SHARES = (0.5, 0.5, 0.25)


def logits_of(seed: int, images: int, shares: tuple[float, ...] = SHARES) -> NDArray[np.float32]:
    """(images, 3): the first two labels are always together, the third comes alone or with them."""
    random = np.random.default_rng(seed)
    chances = random.random((images, 2))
    there = chances[:, [0, 0, 1]] < np.array(shares)
    return np.asarray(np.where(there, 2, -2) + random.normal(0, 0.3, (images, 3)), dtype=np.float32)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """A bundle of three labels that keeps a summary of 400 validation images."""
    made = tiny.build(
        tmp_path / "several", scores="sigmoid", multi_label=True, thresholds=Thresholds(per_class=(0.5, 0.4, 0.6))
    )
    counter = ValidationCounter(made.manifest)
    counter.add([{}] * 400, logits_of(0, 400))
    (made.path / VALIDATION).write_bytes(counter.summary().to_bytes())
    seal(made.path, made.manifest)
    return Bundle.open(made.path)


def counted(bundle: Bundle, logits: NDArray[np.float32], so_far: Summary | None = None) -> Summary:
    counter = PredictionCounter(bundle, so_far=so_far)
    for row in logits:
        counter.count(None, decide(bundle.manifest, "", row, top=1))
    return counter.summary()


def drifted(found: Drift) -> set[str]:
    return {change.name for change in found.changes if change.verdict == "drifted"}


def test_every_label_is_counted_and_so_is_none_and_counting_goes_on(bundle: Bundle) -> None:
    logits = logits_of(1, 100)
    wanted = dict(zip(tiny.LABELS, (logits > 0).sum(axis=0).tolist(), strict=True))
    first = counted(bundle, logits[:60])
    found = counted(bundle, logits[60:], parse_summary(first.to_bytes(), "first"))
    assert (found.labels, found.without_label) == (wanted, int((logits < 0).all(axis=1).sum()))
    (change,) = (each for each in find_drift(bundle, found).changes if each.name == "no label")
    assert change.now == found.without_label / 100


def test_a_label_that_comes_more_often_is_found_and_named_and_so_are_images_without_any(bundle: Bundle) -> None:
    often = find_drift(bundle, counted(bundle, logits_of(2, 300, (0.5, 0.5, 0.7))))
    assert f"label {tiny.LABELS[2]}" in drifted(often) and not {"answers", "class"} & {
        each.name for each in often.changes
    }
    rarely = find_drift(bundle, counted(bundle, logits_of(3, 300, (0.1, 0.1, 0.1))))
    assert "no label" in drifted(rarely) and any(name.startswith("label ") for name in drifted(rarely))


def test_draws_of_the_same_images_raise_no_alarm_though_labels_go_together(bundle: Bundle) -> None:
    verdicts = [find_drift(bundle, counted(bundle, logits_of(seed, 200))).verdict for seed in range(10, 30)]
    assert verdicts.count("drifted") == 0 and verdicts.count("look") <= 1


def test_summaries_of_before_labels_were_counted_are_compared_by_the_best_class(bundle: Bundle) -> None:
    old = replace(counted(bundle, logits_of(4, 200)), labels=None, without_label=0)
    assert "labels" not in old.to_bytes().decode()
    assert "answers" in {each.name for each in find_drift(bundle, parse_summary(old.to_bytes(), "old")).changes}
    assert counted(bundle, logits_of(5, 20), old).labels is None


@pytest.mark.parametrize("damage", [{"cat": 3}, {tiny.LABELS[0]: None}])
def test_a_summary_that_counts_other_labels_than_the_bundle_is_refused(
    bundle: Bundle, damage: dict[str, int | None]
) -> None:
    found = counted(bundle, logits_of(6, 20))
    counts = {name: count for name, count in ((found.labels or {}) | damage).items() if count is not None}
    damaged = replace(found, labels=counts)
    for use in (lambda: find_drift(bundle, damaged), lambda: PredictionCounter(bundle, so_far=damaged)):
        with pytest.raises(DataError, match=f"its labels are not those of .*{next(iter(damage))}"):
            use()
