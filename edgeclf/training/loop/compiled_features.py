"""Features of a frozen backbone on a CPU through OpenVINO, where it is installed: torch's, in less time."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from edgeclf.training.loop.network import Network
from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.backends.ov import compile_settings, import_openvino, openvino_core
from edgeclf_runtime.errors import EdgeclfError

if TYPE_CHECKING:
    import torch

# From so many pixels of all images on, what is saved outweighs 4 to 10 s of compiling: 800 images at 224 px, 400 to
# 1,000 of convolutional networks (benchmarks/results/probe_features.json).
WORTH_PIXELS = 40_000_000
_TOLERANCE = 1e-4  # of the largest feature; fp32 differs by 1e-6


def compiled_features(network: Network, like: torch.Tensor, count: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """`network.features` for `count` images in batches as `like`, (N, 3, H, W) normalised, on a CPU.

    It stays torch's where OpenVINO is missing, can't take the network, or gives other features for `like`, and for so
    few pixels that compiling would cost more than it saves. The choice depends on nothing that is timed, so that the
    same command gives the same features again.
    """
    height, width = like.shape[2:]
    if count * height * width < WORTH_PIXELS:
        return network.features
    try:
        compiled = _Compiled(network, like)
    except (EdgeclfError, RuntimeError, TypeError, ValueError, AttributeError):  # what converters raise for a network
        return network.features
    wanted = network.features(like)
    off = float((compiled(like) - wanted).abs().max())
    return compiled if off <= _TOLERANCE * float(wanted.abs().max()) else network.features


class _Compiled:
    """(N, 3, H, W) normalised -> features, by a graph compiled for one batch size; smaller batches are padded."""

    def __init__(self, network: Network, like: torch.Tensor) -> None:
        import torch

        class Features(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.module = network.module

            def forward(self, images: torch.Tensor) -> torch.Tensor:
                return network.features(images)

        network.module.eval()
        with warnings.catch_warnings():  # of tracing: what it got wrong, the comparison finds
            warnings.simplefilter("ignore")
            graph = import_openvino().convert_model(Features().eval(), example_input=like, input=[list(like.shape)])
        settings = compile_settings(SessionOptions(device="cpu", threads=torch.get_num_threads()), "f32")
        self._request: Any = openvino_core().compile_model(graph, "CPU", settings).create_infer_request()
        self._batch = len(like)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        import torch

        padded = torch.cat([images, images.new_zeros(self._batch - len(images), *images.shape[1:])])
        found = self._request.infer(padded.contiguous().numpy())
        return torch.from_numpy(found[0][: len(images)].copy())
