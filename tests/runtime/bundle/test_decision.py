"""From logits to the classes that are listed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tiny

from edgeclf_runtime.bundle.decision import decide, scores_of
from edgeclf_runtime.bundle.manifest import Manifest
from edgeclf_runtime.metrics.energy import energies_of


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return tiny.build(tmp_path_factory.mktemp("bundle") / "reference").manifest


@pytest.mark.parametrize("top", [1, 2, 5, 39, 40, 1000])
def test_the_best_classes_come_first_and_of_equal_ones_the_first(manifest: Manifest, top: int) -> None:
    outputs = (replace(manifest.outputs[0], shape=("batch", 40)),)
    many = replace(manifest, labels=tuple(f"class {number}" for number in range(40)), outputs=outputs)
    logits = np.random.default_rng(0).integers(0, 6, 40).astype(np.float32)  # many are equal
    wanted = sorted(range(40), key=lambda place: (-logits[place], place))[:top]
    found = decide(many, "image", logits, top=top)
    assert [score.label for score in found.scores] == [f"class {place}" for place in wanted]
    assert found.label == found.scores[0].label


@pytest.mark.parametrize("temperature", [1.0, 0.3, 1.15])
@pytest.mark.parametrize("classes", [2, 50, 51])
def test_one_row_has_the_scores_and_the_energy_that_arrays_of_rows_have(
    manifest: Manifest, classes: int, temperature: float
) -> None:
    outputs = (replace(manifest.outputs[0], shape=("batch", classes)),)
    labels = tuple(f"class {number}" for number in range(classes))
    many = replace(manifest, labels=labels, outputs=outputs, temperature=temperature)
    logits = (8 * np.random.default_rng(0).normal(size=(20, classes))).astype(np.float32)
    found = [decide(many, "image", row, top=classes) for row in logits]
    wanted = np.sort(scores_of(logits, many))[:, ::-1]
    listed = [[score.probability for score in each.scores] for each in found]
    np.testing.assert_allclose(listed, wanted, rtol=1e-13)
    np.testing.assert_allclose([each.energy for each in found], energies_of(logits, "softmax"), rtol=1e-13)


@pytest.mark.parametrize("classes", [3, 51])
@pytest.mark.parametrize("broken", [np.nan, np.inf])
@pytest.mark.parametrize("place", [0, 1])
def test_outputs_that_are_not_finite_give_an_error(manifest: Manifest, classes: int, broken: float, place: int) -> None:
    outputs = (replace(manifest.outputs[0], shape=("batch", classes)),)
    many = replace(manifest, labels=tuple(f"class {number}" for number in range(classes)), outputs=outputs)
    logits = np.zeros(classes, np.float32)
    logits[place] = broken
    assert "NaN or infinite" in str(decide(many, "image", logits).error)
