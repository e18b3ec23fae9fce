"""What a phase trains on: pictures through the whole network, or features that the frozen backbone gave once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgeclf.data.split import SplitManifest
from edgeclf.training.augment import Augmenter, seed_of
from edgeclf.training.batches import Pictures, TrainingBatches, plain_batches
from edgeclf.training.config import TrainConfig
from edgeclf.training.device import amp_type, free_cached, is_out_of_memory
from edgeclf.training.network import Network
from edgeclf_export.trained import Architecture
from edgeclf_runtime.errors import BackendError, UsageError

if TYPE_CHECKING:
    import torch

_CACHED_PIXELS_BYTES = 1 << 30
_EVALUATION_BATCH = 32
_FEATURE_BATCH = 256


class Inputs(Protocol):
    """Batches of one phase, and the forward pass that fits them."""

    def __len__(self) -> int: ...
    def start(self) -> None:
        """Puts the network into the mode that this phase trains it in."""
        ...

    def batches(self, epoch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]: ...
    def logits(self, batch: torch.Tensor) -> torch.Tensor: ...
    def val_logits(self) -> NDArray[np.float32]: ...


class Studio:
    """Pictures and network on one device: what both kinds of inputs are made from."""

    def __init__(
        self,
        config: TrainConfig,
        data: SplitManifest,
        architecture: Architecture,
        module: torch.nn.Module,
        device: torch.device,
    ) -> None:
        import torch

        self.config, self.device, self.pixels = config, device, architecture.pixels
        self.classes = len(architecture.labels)
        self.train, self.val = Pictures.of(data, "train"), Pictures.of(data, "val")
        self.network = Network.of(module, self.classes, config.drop, seed_of(config.seed, "head"))
        layout = torch.channels_last if config.channels_last else torch.contiguous_format
        self.network.module.to(device=device, memory_format=layout)  # type: ignore[call-overload]
        normalization = architecture.normalization
        mean, std = (torch.tensor(v, dtype=torch.float64) for v in (normalization.mean, normalization.std))
        self._scale = (1.0 / (255.0 * std)).float().view(1, 3, 1, 1).to(device)
        self._shift = (-mean / std).float().view(1, 3, 1, 1).to(device)
        self._amp = amp_type(config.amp, device)
        self._val_pixels: list[NDArray[np.uint8]] | None = None
        self._check()
        if not config.freezes_batch_norm(len(self.train)) and config.strategy != "linear-probe":
            self._refuse_single_pictures(min(config.batch_size, len(self.train)))

    def _refuse_single_pictures(self, batch_size: int) -> None:
        """Raises UsageError where BatchNorm would learn from one picture, whose variance is none."""
        import torch

        normalizes = any(
            isinstance(part, torch.nn.modules.batchnorm._BatchNorm) for part in self.network.module.modules()
        )
        if batch_size == 1 and normalizes:
            raise UsageError(
                "BatchNorm can't learn from one picture; give --batch-size 2 or more, or --batch-norm freeze"
            )

    def _check(self) -> None:
        """Raises UsageError where the network can't take the pictures, or the strategy not the network."""
        import torch

        noise = torch.randint(0, 256, (2, *self.pixels.crop_px, 3), generator=torch.Generator().manual_seed(0))
        whole = self.network.is_heads_on_features(self.normalized(noise))
        if not whole and self.config.strategy in ("linear-probe", "two-phase"):
            raise UsageError(
                "this backbone is more than features and linear heads; choose --strategy full or discriminative"
            )

    def normalized(self, images: torch.Tensor) -> torch.Tensor:
        """(N, H, W, 3) uint8 -> (N, 3, H, W) float32, channels last in memory, as the exported graph does it."""
        return images.to(self.device).float().permute(0, 3, 1, 2) * self._scale + self._shift

    def autocast(self) -> Any:
        import torch

        return torch.autocast(self.device.type, self._amp, enabled=self._amp is not None)

    @property
    def scales_gradients(self) -> bool:
        import torch

        return self._amp is torch.float16

    def val_batches(self) -> Iterator[NDArray[np.uint8]]:
        """Validation pictures in order; decoded once where they fit into a GiB."""
        if self._val_pixels is not None:
            yield from self._val_pixels
            return
        height, width = self.pixels.crop_px
        fits = len(self.val) * height * width * 3 <= _CACHED_PIXELS_BYTES
        kept: list[NDArray[np.uint8]] = []
        for images in plain_batches(self.val, self.pixels, _EVALUATION_BATCH):
            if fits:
                kept.append(images)
            yield images
        self._val_pixels = kept if fits else None

    def through(self, forward: Any, batches: Iterator[NDArray[np.uint8]]) -> torch.Tensor:
        """What `forward` gives for all pictures, in evaluation mode, float32 on the CPU."""
        import torch

        self.network.module.eval()
        with torch.inference_mode(), self.autocast():
            parts = [self._forward(forward, torch.from_numpy(images)) for images in batches]
        return torch.cat(parts).clone()  # outside of inference mode: features are trained on

    def _forward(self, forward: Any, images: torch.Tensor) -> torch.Tensor:
        """Out of memory, halves the batch."""
        import torch

        try:
            answers: torch.Tensor = forward(self.normalized(images)).float().cpu()
            return answers
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if len(images) == 1:
                raise BackendError("out of memory with one picture; try a smaller --img-size") from error
        free_cached()
        half = len(images) // 2
        return torch.cat([self._forward(forward, images[:half]), self._forward(forward, images[half:])])


class PictureInputs:
    """Augmented pictures; the whole network learns."""

    def __init__(self, studio: Studio) -> None:
        config = studio.config
        self._studio = studio
        self._batches = TrainingBatches(
            studio.train,
            studio.pixels,
            Augmenter(config.augment, config.switches, studio.pixels, config.seed),
            batch_size=config.batch_size,
            seed=config.seed,
            weighted=config.sampler == "weighted",
            workers=_workers(config),
        )

    def __len__(self) -> int:
        return len(self._batches)

    def start(self) -> None:
        import torch

        module = self._studio.network.module
        module.train()
        if self._studio.config.freezes_batch_norm(len(self._studio.train)):
            for part in module.modules():
                if isinstance(part, torch.nn.modules.batchnorm._BatchNorm):
                    part.eval()

    def batches(self, epoch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for images, labels in self._batches.epoch(epoch):
            yield self._studio.normalized(images), labels.to(self._studio.device)

    def logits(self, batch: torch.Tensor) -> torch.Tensor:
        return self._studio.network(batch)

    def val_logits(self) -> NDArray[np.float32]:
        return self._studio.through(self._studio.network.module, self._studio.val_batches()).numpy()


class FeatureInputs:
    """Features of the frozen backbone, computed once, so that many epochs of the head cost one pass over the pictures.

    The backbone stays in evaluation mode: its BatchNorm statistics don't move. Pictures come through Pixels, without
    augmentation, since each is seen once.
    """

    def __init__(self, studio: Studio, advance: Any) -> None:
        self._studio = studio
        features = studio.network.features
        train = plain_batches(studio.train, studio.pixels, _EVALUATION_BATCH)
        self._features = studio.through(features, _counted(train, advance))
        self._val_features = studio.through(features, _counted(studio.val_batches(), advance))

    @staticmethod
    def passes(studio: Studio) -> int:
        """Batches of pictures that the constructor works through."""
        return -(-len(studio.train) // _EVALUATION_BATCH) - (-len(studio.val) // _EVALUATION_BATCH)

    def __len__(self) -> int:
        return max(1, -(-len(self._features) // self._size))

    @property
    def _size(self) -> int:
        return min(_FEATURE_BATCH, max(self._studio.config.batch_size, 8))

    def start(self) -> None:
        self._studio.network.module.eval()

    def batches(self, epoch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        import torch

        seed = seed_of(self._studio.config.seed, "head", epoch)
        order = torch.from_numpy(self._studio.train.order(seed, self._studio.config.sampler == "weighted"))
        labels = torch.from_numpy(self._studio.train.labels)
        for chosen in torch.split(order, self._size):
            yield self._features[chosen].to(self._studio.device), labels[chosen].to(self._studio.device)

    def logits(self, batch: torch.Tensor) -> torch.Tensor:
        network = self._studio.network
        return network.classify_features(batch, network.drop)  # the module is in evaluation mode, its head is not

    def val_logits(self) -> NDArray[np.float32]:
        import torch

        network = self._studio.network
        with torch.inference_mode():
            logits: NDArray[np.float32] = (
                network.classify_features(self._val_features.to(self._studio.device)).cpu().numpy()
            )
        return logits


def _counted(batches: Iterator[NDArray[np.uint8]], advance: Any) -> Iterator[NDArray[np.uint8]]:
    for batch in batches:
        yield batch
        advance()


def _workers(config: TrainConfig) -> int:
    """Processes that decode and augment: one fewer than the cores, at most 8; none on a single core."""
    if config.workers is not None:
        return config.workers
    return min(8, len(os.sched_getaffinity(0)) - 1)
