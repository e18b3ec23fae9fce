"""MixUp and CutMix: targets follow the shares of the mixed images."""

from __future__ import annotations

import pytest
import torch

from edgeclf.training.inputs.mixing import mix


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.4, 0.0), (0.0, 1.0), (0.4, 1.0)])
def test_mixed_targets_stay_distributions_and_mixing_repeats_with_its_seed(mixup: float, cutmix: float) -> None:
    images, targets = torch.rand(8, 3, 12, 10), torch.eye(5)[torch.arange(8) % 5]
    mixed, wanted = mix(images, targets, mixup=mixup, cutmix=cutmix, seed=3)
    again, _ = mix(images, targets, mixup=mixup, cutmix=cutmix, seed=3)
    assert torch.allclose(wanted.sum(1), torch.ones(8)) and torch.equal(mixed, again)
    assert mixed.shape == images.shape


def test_cutmix_labels_follow_the_area_that_was_pasted() -> None:
    images = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 3, 20, 20).contiguous()
    targets = torch.eye(6)
    for seed in range(20):
        mixed, wanted = mix(images, targets, mixup=0.0, cutmix=1.0, seed=seed)
        for row in range(6):
            own = float((mixed[row, 0] == row).float().mean())
            assert float(wanted[row, row]) == pytest.approx(own, abs=1e-6)
