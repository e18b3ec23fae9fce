"""The training context: images and network on one device, from which every phase gets its inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeclf.training.config import TrainConfig
from edgeclf.training.distillation.distillation import Distillation
from edgeclf.training.distillation.views import resized
from edgeclf.training.distributed import Processes
from edgeclf.training.inputs.batches import TrainingImages, plain_batches
from edgeclf.training.loop.compiled_features import compiled_features
from edgeclf.training.loop.device import amp_type, free_cached, is_out_of_memory
from edgeclf.training.loop.network import Network
from edgeclf.training.seeds import seed_of
from edgeclf_export.sources.trained import Architecture
from edgeclf_runtime.bundle.manifest import Normalization
from edgeclf_runtime.errors import BackendError, UsageError
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.images.pixels import Pixels

if TYPE_CHECKING:
    import torch

_CACHED_PIXELS_BYTES = 1 << 30
EVALUATION_BATCH = 32


class Normalizer:
    """(N, H, W, 3) uint8 -> (N, 3, H, W) float32 on the device, channels last in memory, as the exported graph does."""

    def __init__(self, normalization: Normalization, device: torch.device) -> None:
        import torch

        mean, std = (torch.tensor(v, dtype=torch.float64) for v in (normalization.mean, normalization.std))
        self._scale = (1.0 / (255.0 * std)).float().view(1, 3, 1, 1).to(device)
        self._shift = (-mean / std).float().view(1, 3, 1, 1).to(device)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        images = images.to(self._scale.device, non_blocking=True)
        return images.float().permute(0, 3, 1, 2) * self._scale + self._shift

    def undo(self, normalized: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) normalised -> (N, 3, H, W) float32 levels of 0 to 255."""
        return (normalized - self._shift) / self._scale


class TrainingContext:
    """Images and network on one device, from which every phase gets its inputs."""

    def __init__(
        self,
        config: TrainConfig,
        data: DataSplit,
        architecture: Architecture,
        module: torch.nn.Module,
        device: torch.device,
        processes: Processes = Processes(),
        distillation: Distillation | None = None,
    ) -> None:
        import torch

        self.config, self.device, self.pixels = config, device, architecture.pixels
        self.processes, self.distillation = processes, distillation
        self.classes = len(architecture.labels)
        self.train, self.val = TrainingImages.of(data, "train"), TrainingImages.of(data, "val")
        if distillation is not None:
            self.train = distillation.training_images(self.train)
        self.has_unlabelled = bool((self.train.labels < 0).any())
        self._own_val = self.val.part(processes.share(len(self.val)))
        self.network = Network.of(module, self.classes, config.drop, seed_of(config.seed, "head"))
        network_learns = config.strategy != "linear-probe"
        self.learns_batch_norm = (
            network_learns and self.network.has_batch_norm and not config.freezes_batch_norm(len(self.train))
        )
        self.syncs_batch_norm = self.learns_batch_norm and processes.size > 1 and device.type == "cuda"
        self._refuse_small_shares()
        if self.syncs_batch_norm:
            self.network.sync_batch_norm()
        layout = torch.channels_last if config.channels_last else torch.contiguous_format
        self.network.module.to(device=device, memory_format=layout)  # type: ignore[call-overload]
        self._normalize = Normalizer(architecture.normalization, device)
        self._amp = amp_type(config.amp, device)
        self._val_pixels: list[NDArray[np.uint8]] | None = None
        self._check()

    def _refuse_small_shares(self) -> None:
        """Raises UsageError where a process would get no image, or BatchNorm a single one, which has no variance."""
        size, batch = self.processes.size, min(self.config.batch_size, len(self.train))
        for count, what in ((batch, "images per step"), (len(self.val), "validation images")):
            if count < size:
                raise UsageError(f"{size} processes can't share {count} {what}; start fewer of them")
        if self.learns_batch_norm and batch < 2 * size:
            raise UsageError(
                f"BatchNorm can't learn from one image; give --batch-size {2 * size} or more, or --batch-norm freeze"
            )

    def _check(self) -> None:
        """Raises UsageError where the network can't take images of this size, or the strategy does not fit it."""
        import torch

        noise = torch.randint(0, 256, (2, *self.pixels.crop_px, 3), generator=torch.Generator().manual_seed(0))
        whole = self.network.is_heads_on_features(self.normalized(noise))
        if not whole and self.config.strategy in ("linear-probe", "two-phase"):
            raise UsageError(
                "this backbone does more than apply linear heads to features; choose --strategy full or discriminative"
            )

    def normalized(self, images: torch.Tensor) -> torch.Tensor:
        """(N, H, W, 3) uint8 -> (N, 3, H, W) float32, channels last in memory, as the exported graph does it."""
        return self._normalize(images)

    @property
    def view_pixels(self) -> Pixels:
        """The geometry of augmented images: the network's own, unless a teacher sees the views in a larger size."""
        if self.distillation is None or not self.config.consistent_views:
            return self.pixels
        return self.distillation.view_pixels(self.pixels)

    def student_size(self, views: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) views -> the same in the size that the network takes."""
        return resized(views, self.pixels.crop_px)

    def taught_of(self, views: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) normalised, perhaps mixed -> (N, classes) logits of the teacher, which sees the same."""
        assert self.distillation is not None  # nobody else asks
        return self.distillation.of_views(self._normalize.undo(views))

    def feature_pass(self) -> Callable[[torch.Tensor], torch.Tensor]:
        """(N, 3, H, W) normalised -> (N, features), the faster way of this machine for this process's images."""
        import torch

        if self.device.type != "cpu" or self._amp is not None:
            return self.network.features
        own = len(self._own_val) + len(range(len(self.train))[self.processes.share(len(self.train))])
        shape = (EVALUATION_BATCH, *self.pixels.crop_px, 3)
        noise = torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            return compiled_features(self.network, self.normalized(noise), own)

    def autocast(self) -> Any:
        import torch

        return torch.autocast(self.device.type, self._amp, enabled=self._amp is not None)

    @property
    def scales_gradients(self) -> bool:
        import torch

        return self._amp is torch.float16

    def val_batches(self) -> Iterator[NDArray[np.uint8]]:
        """This process's share of the validation images in order; decoded once where they fit into a GiB."""
        if self._val_pixels is not None:
            yield from self._val_pixels
            return
        height, width = self.pixels.crop_px
        fits = len(self._own_val) * height * width * 3 <= _CACHED_PIXELS_BYTES
        kept: list[NDArray[np.uint8]] = []
        for images in plain_batches(self._own_val, self.pixels, EVALUATION_BATCH):
            if fits:
                kept.append(images)
            yield images
        self._val_pixels = kept if fits else None

    def through(self, forward: Any, batches: Iterator[NDArray[np.uint8]], count: int) -> torch.Tensor:
        """What `forward` gives for all `count` images, in evaluation mode, float32 on the CPU.

        `batches` are this process's share of them; each process gets the outputs of all.
        """
        import torch

        self.network.module.eval()
        with torch.inference_mode(), self.autocast():
            parts = [self._forward(forward, torch.from_numpy(images)) for images in batches]
        own = torch.cat(parts).clone()  # outside of inference mode: features are trained on
        return self.processes.join_rows(own, count)

    def _forward(self, forward: Any, images: torch.Tensor) -> torch.Tensor:
        """Out of memory, halves the batch."""
        import torch

        try:
            outputs: torch.Tensor = forward(self.normalized(images)).float().cpu()
            return outputs
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if len(images) == 1:
                raise BackendError("out of memory with one image; try a smaller --img-size") from error
        free_cached()
        half = len(images) // 2
        return torch.cat([self._forward(forward, images[:half]), self._forward(forward, images[half:])])
