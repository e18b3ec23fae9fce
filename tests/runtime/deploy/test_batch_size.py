"""The batch size that is chosen: faster, worth its trial, and with the same outputs."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.backends.ov import OvEngine
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.classifier import Classifier
from edgeclf_runtime.deploy import batch_size as batching
from edgeclf_runtime.deploy.batch_size import BatchChoice, Workers
from edgeclf_runtime.session import Session

Shared = Callable[[str], Bundle]
MANY = SessionOptions(threads=2, hint="throughput")


def choice(
    monkeypatch: pytest.MonkeyPatch,
    bundle: Bundle,
    rates: dict[int, float],
    images: int | None = None,
    compile_s: float = 0.0,
) -> BatchChoice:
    """What is chosen where batches of each size give so many images a second, every third time a tenth of them."""
    calls = itertools.count()

    def rate(session: Session, workers: Workers, batch: NDArray[np.uint8]) -> float:
        return rates[len(batch)] * (0.1 if next(calls) % 6 == 5 else 1)

    monkeypatch.setattr(batching, "_images_per_s", rate)
    with Classifier.open(bundle, MANY) as classifier:
        classifier.session.compile_s = compile_s
        return classifier.choose_batch_size(images)


@pytest.mark.parametrize(
    ("rates", "size"),
    [
        ({1: 100.0, 4: 125.0, 8: 140.0}, 8),
        ({1: 100.0, 4: 125.0, 8: 130.0}, 4),  # in doubt the smaller one, and no other in another run
        ({1: 100.0, 4: 99.0, 8: 103.0}, 4),  # in doubt not the engine's gain decides, but fewer calls
        ({1: 100.0, 4: 104.0, 8: 110.0}, 4),
        ({1: 100.0, 4: 95.0, 8: 180.0}, 1),
    ],
)
def test_eight_are_taken_where_clearly_faster_and_four_unless_slower_whatever_a_busy_moment_says(
    monkeypatch: pytest.MonkeyPatch, shared_bundle: Shared, rates: dict[int, float], size: int
) -> None:
    assert choice(monkeypatch, shared_bundle("reference"), rates).size == size


def test_a_trial_that_costs_more_than_it_can_save_is_not_made(
    monkeypatch: pytest.MonkeyPatch, shared_bundle: Shared
) -> None:
    bundle, rates = shared_bundle("reference"), {1: 100.0, 4: 150.0, 8: 200.0}
    assert choice(monkeypatch, bundle, rates, images=500).size == 1  # 0.25 s for a trial of 0.3 s
    assert choice(monkeypatch, bundle, rates, images=2000).size == 8
    assert choice(monkeypatch, bundle, rates, images=2000, compile_s=1.0).size == 1


def test_batches_that_give_other_outputs_are_not_taken_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch, shared_bundle: Shared
) -> None:
    def wrong_in_batches(self: Any, batch: Any) -> Any:
        outputs = infer(self, batch)
        return outputs if len(batch) == 1 else outputs[::-1].copy()

    infer = OvEngine.infer
    monkeypatch.setattr(OvEngine, "infer", wrong_in_batches)
    found = choice(monkeypatch, shared_bundle("openvino"), {1: 100.0, 4: 150.0, 8: 200.0})
    assert found.size == 1 and "in batches of 4 outputs differ" in found.refused


@pytest.mark.parametrize("target", ["reference", "openvino"])
def test_a_batch_size_is_found_by_measuring_all_streams(shared_bundle: Shared, target: str) -> None:
    with Classifier.open(shared_bundle(target), MANY) as classifier:
        assert classifier.choose_batch_size().size in batching.SIZES
        assert classifier.choose_batch_size(images=3).size == 1
