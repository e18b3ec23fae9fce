"""Features through OpenVINO are torch's, and where they are not, torch computes them."""

from __future__ import annotations

import pytest
import torch

from edgeclf.training.loop import compiled_features as subject
from edgeclf.training.loop.compiled_features import compiled_features
from edgeclf.training.loop.network import Network

IMAGES = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    layers = (torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Flatten(), torch.nn.Linear(144, 5))
    return Network.of(torch.nn.Sequential(*layers).eval(), 5, 0.3, seed=0)


def enough() -> int:
    """So many images of 8 x 8 pixels that compiling is worth it."""
    return subject.WORTH_PIXELS // 64


def test_features_are_torchs_in_a_full_and_in_a_smaller_batch(network: Network) -> None:
    pytest.importorskip("openvino")
    with torch.inference_mode():
        features = compiled_features(network, IMAGES, enough())
        assert features != network.features
        for batch in (IMAGES, IMAGES[:4]):
            torch.testing.assert_close(features(batch), network.features(batch), rtol=1e-4, atol=1e-5)


def test_torch_computes_the_features_of_few_images_and_of_a_network_that_openvino_gets_wrong_or_refuses(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    with torch.inference_mode():
        assert compiled_features(network, IMAGES, enough() - 1) == network.features
        right = subject._Compiled.__call__
        monkeypatch.setattr(subject._Compiled, "__call__", lambda self, images: 1.001 * right(self, images))
        assert compiled_features(network, IMAGES, enough()) == network.features
        monkeypatch.setattr(subject._Compiled, "__init__", lambda *_: (_ for _ in ()).throw(RuntimeError("no rule")))
        assert compiled_features(network, IMAGES, enough()) == network.features
