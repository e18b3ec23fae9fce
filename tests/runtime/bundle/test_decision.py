"""From logits to the classes that are listed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tiny

from edgeclf_runtime.bundle.decision import decide
from edgeclf_runtime.bundle.manifest import Manifest


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
