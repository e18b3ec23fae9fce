"""Heads are found and trained whatever the architecture calls them, and dropout acts once, where it should."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from edgeclf.training.config import TrainConfig
from edgeclf.training.loop.network import Network
from edgeclf.training.train import train
from edgeclf_export.sources.backbones import head_layers
from edgeclf_runtime.backends.torch_module import Builder, build_module
from edgeclf_runtime.errors import UsageError
from edgeclf_runtime.images.data_split import DataSplit

Make = Callable[..., TrainConfig]


class _Distilled(torch.nn.Module):
    """Two heads on two features, averaged, as DeiT's."""

    def __init__(self) -> None:
        super().__init__()
        self.pretrained_cfg = {"classifier": ("head", "head_dist")}
        self.stem = torch.nn.Linear(3, 8)
        self.head, self.head_dist = torch.nn.Linear(4, 5), torch.nn.Linear(4, 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        first, second = self.stem(images.mean(dim=(2, 3))).split(4, dim=1)
        logits: torch.Tensor = (self.head(first) + self.head_dist(second)) / 2
        return logits


def test_two_averaged_heads_are_one_network() -> None:
    network = Network.of(_Distilled().eval(), 5, 0.3, seed=0)
    images = torch.rand(4, 3, 8, 8)
    assert len(network.heads) == 2 and network.is_heads_on_features(images)
    with torch.no_grad():
        assert torch.allclose(network.classify_features(network.features(images)), network.module(images))
    assert {id(p) for p in network.head_parameters}.isdisjoint({id(p) for p in network.backbone_parameters})


def test_the_heads_start_from_the_seed_alone() -> None:
    torch.manual_seed(0)
    first = Network.of(_Distilled(), 5, 0.3, seed=7)
    torch.manual_seed(1)
    second = Network.of(_Distilled(), 5, 0.3, seed=7)
    pairs = zip(first.head_parameters, second.head_parameters, strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_dropout_on_features_acts_although_the_backbone_is_in_evaluation_mode() -> None:
    network = Network.of(_Distilled().eval(), 5, 0.5, seed=0)
    features = torch.ones(64, 8)
    with torch.no_grad():
        assert network.classify_features(features, network.drop).std(dim=0).min() > 0
        assert network.classify_features(features).std(dim=0).max() < 1e-6


def test_the_architectures_own_dropout_in_front_of_the_head_is_off() -> None:
    module = build_module(Builder("torchvision", "mobilenet_v2", {"num_classes": 3}))
    network = Network.of(module, 3, 0.0, seed=0)
    module.train()
    dropouts = [part.p for part in network.module.modules() if isinstance(part, torch.nn.Dropout)]
    assert dropouts == [0.0]


@pytest.mark.parametrize(("model", "head"), [("shufflenet_v2_x0_5", "fc"), ("mobilenet_v2", "classifier.1")])
def test_the_head_of_a_torchvision_network_is_found_among_its_weights(model: str, head: str) -> None:
    weights = build_module(Builder("torchvision", model, {"num_classes": 3})).state_dict()
    assert head_layers("torchvision", model, weights) == [head]


def test_a_head_that_is_not_linear_trains_whole_and_is_refused_as_a_probe(
    config: Make, data: DataSplit, tmp_path: Path
) -> None:
    squeezenet: dict[str, Any] = {"model": "torchvision/squeezenet1_1", "epochs": 1}
    with pytest.raises(UsageError, match="--strategy full"):
        train(config(**squeezenet, strategy="linear-probe"), data, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert train(config(**squeezenet, strategy="full"), data, tmp_path / "run").finished


def test_an_image_that_is_too_small_for_the_backbone_is_a_usage_error(
    config: Make, data: DataSplit, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="16x16; try another --img-size"):
        train(config(model="torchvision/squeezenet1_1", img_size=16, strategy="full"), data, tmp_path / "run")
    assert not (tmp_path / "run").exists()
