"""The inputs of a phase: images through the whole network, or features of the frozen backbone, computed once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgeclf.training.config import TrainConfig
from edgeclf.training.distributed import Processes
from edgeclf.training.inputs.augment import Augmenter
from edgeclf.training.inputs.batches import TrainingBatches, TrainingImages, plain_batches
from edgeclf.training.inputs.image_cache import cache_budget, decode_once
from edgeclf.training.loop.context import EVALUATION_BATCH, TrainingContext
from edgeclf.training.loop.targets import Batch
from edgeclf.training.seeds import seed_of
from edgeclf_runtime.capacity import usable_cores
from edgeclf_runtime.progress import Progress

if TYPE_CHECKING:
    import torch

_FEATURE_BATCH = 256


class Inputs(Protocol):
    """Batches of one phase, and the forward pass that fits them."""

    def __len__(self) -> int: ...
    def start(self) -> None:
        """Puts the network into the mode that this phase trains it in."""
        ...

    def batches(self, epoch: int) -> Iterator[Batch]:
        """This process's share of each batch; it may be empty in a last one."""
        ...

    def logits(self, batch: torch.Tensor) -> torch.Tensor: ...
    def val_logits(self) -> NDArray[np.float32]: ...


class ImageInputs:
    """Augmented images; the whole network learns."""

    def __init__(self, context: TrainingContext) -> None:
        config = context.config
        self._context = context
        self._batches = TrainingBatches(
            context.train,
            context.view_pixels,
            Augmenter(config.augment, config.switches, context.view_pixels, config.seed),
            batch_size=config.batch_size,
            seed=config.seed,
            weighted=config.sampler == "weighted",
            workers=_workers(config, context.processes),
            least=2 * context.processes.size if context.learns_batch_norm else 2,
            processes=context.processes,
            pin=context.device.type == "cuda",
        )

    def __len__(self) -> int:
        return len(self._batches)

    def decode_once(self, progress: Progress) -> None:
        """Keeps decoded images in memory, as the config says, for the epochs to come."""
        context, mode = self._context, self._context.config.image_cache
        if mode != "off":
            budget = cache_budget(mode, context.processes.local_size * self._batches.copies)
            augmented = self._batches.augmented
            augmented.kept = decode_once(augmented.load, len(context.train), mode, budget, progress)

    def start(self) -> None:
        import torch

        module = self._context.network.module
        module.train()
        if self._context.config.freezes_batch_norm(len(self._context.train)):
            for part in module.modules():
                if isinstance(part, torch.nn.modules.batchnorm._BatchNorm):
                    part.eval()

    def batches(self, epoch: int) -> Iterator[Batch]:
        context = self._context
        for images, chosen in self._batches.epoch(epoch):
            labels = torch_labels(context.train, chosen).to(context.device)
            yield Batch(context.normalized(images), labels, _stored(context, chosen, context.config.consistent_views))

    def logits(self, batch: torch.Tensor) -> torch.Tensor:
        return self._context.network(batch)

    def val_logits(self) -> NDArray[np.float32]:
        context = self._context
        return context.through(context.network.module, context.val_batches(), len(context.val)).numpy()


class FeatureInputs:
    """Features of the frozen backbone, computed once, so that many epochs of the head cost one pass over the images.

    The backbone stays in evaluation mode: its BatchNorm statistics don't move. Images come through Pixels, without
    augmentation, since each is seen once.
    """

    def __init__(self, context: TrainingContext, advance: Any) -> None:
        self._context = context
        features = context.feature_pass()
        own = context.train.part(context.processes.share(len(context.train)))
        train = plain_batches(own, context.pixels, EVALUATION_BATCH)
        self._features = context.through(features, _counted(train, advance), len(context.train))
        self._val_features = context.through(features, _counted(context.val_batches(), advance), len(context.val))

    @staticmethod
    def passes(context: TrainingContext) -> int:
        """Batches of images that the constructor works through in the first process, whose share is the largest."""
        shares = (-(-len(images) // context.processes.size) for images in (context.train, context.val))
        return sum(-(-share // EVALUATION_BATCH) for share in shares)

    def __len__(self) -> int:
        return max(1, -(-len(self._features) // self._size))

    @property
    def _size(self) -> int:
        return min(_FEATURE_BATCH, max(self._context.config.batch_size, 8))

    def start(self) -> None:
        self._context.network.module.eval()

    def batches(self, epoch: int) -> Iterator[Batch]:
        import torch

        seed = seed_of(self._context.config.seed, "head", epoch)
        order = torch.from_numpy(self._context.train.order(seed, self._context.config.sampler == "weighted"))
        context, device = self._context, self._context.device
        for together in torch.split(order, self._size):
            chosen = together[context.processes.share(len(together))]
            labels = torch_labels(context.train, chosen).to(device)
            yield Batch(self._features[chosen].to(device), labels, _stored(context, chosen))

    def logits(self, batch: torch.Tensor) -> torch.Tensor:
        network = self._context.network
        return network.classify_features(batch, network.drop)  # the module is in evaluation mode, its head is not

    def val_logits(self) -> NDArray[np.float32]:
        import torch

        network = self._context.network
        with torch.inference_mode():
            logits: NDArray[np.float32] = (
                network.classify_features(self._val_features.to(self._context.device)).cpu().numpy()
            )
        return logits


def torch_labels(images: TrainingImages, chosen: torch.Tensor) -> torch.Tensor:
    """(N,) class numbers of the images with these numbers."""
    import torch

    return torch.from_numpy(images.labels)[chosen]


def _stored(context: TrainingContext, chosen: torch.Tensor, sees_views: bool = False) -> torch.Tensor | None:
    """The teacher's logits of the images with these numbers; None: there is no teacher, or it sees the views."""
    if context.distillation is None or sees_views:
        return None
    return context.distillation.stored(chosen).to(context.device)


def _counted(batches: Iterator[NDArray[np.uint8]], advance: Any) -> Iterator[NDArray[np.uint8]]:
    for batch in batches:
        yield batch
        advance()


def _workers(config: TrainConfig, processes: Processes) -> int:
    """Processes that decode and augment: one fewer than the cores of this process, at most 8; none on a single core."""
    if config.workers is not None:
        return config.workers
    return max(0, min(8, usable_cores() // processes.local_size - 1))
