"""A small network for LiteRT's converter, and the mark of tests that convert: some 15 seconds each."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pytest
from patches import LABELS

CONVERTS = (
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("litert_torch") is None, reason="pip install 'edgeclf[litert-export]'"),
)


def converts(test: Any) -> Any:
    """Slow, and left out without the extra litert-export, which no other extra brings."""
    for mark in CONVERTS:
        test = mark(test)
    return test


def small_network(activation: Any) -> Any:
    """Two convolutions, the activation behind each, and a linear layer; logits differ between images."""
    import torch

    torch.manual_seed(0)
    layers = torch.nn
    module = layers.Sequential(
        layers.Conv2d(3, 16, 3, 2, 1), activation(), layers.Conv2d(16, 16, 3, 1, 1, groups=16), activation(),
        layers.AdaptiveAvgPool2d(1), layers.Flatten(), layers.Linear(16, len(LABELS)),
    )  # fmt: skip
    with torch.no_grad():
        module[6].weight.mul_(20)
    return module.eval()
