"""What a phase trains on: pictures through the whole network, or features that the frozen backbone gave once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgeclf.training.config import TrainConfig
from edgeclf.training.distributed import Processes
from edgeclf.training.inputs.augment import Augmenter
from edgeclf.training.inputs.batches import TrainingBatches, plain_batches
from edgeclf.training.inputs.image_cache import cache_budget, decode_once
from edgeclf.training.loop.context import EVALUATION_BATCH, Studio
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

    def batches(self, epoch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """This process's share of each batch; it may be empty in a last one."""
        ...

    def logits(self, batch: torch.Tensor) -> torch.Tensor: ...
    def val_logits(self) -> NDArray[np.float32]: ...


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
            workers=_workers(config, studio.processes),
            least=2 * studio.processes.size if studio.learns_batch_norm else 2,
            processes=studio.processes,
            pin=studio.device.type == "cuda",
        )

    def __len__(self) -> int:
        return len(self._batches)

    def decode_once(self, progress: Progress) -> None:
        """Keeps decoded pictures in memory, as the config says, for the epochs to come."""
        studio, mode = self._studio, self._studio.config.image_cache
        if mode != "off":
            budget = cache_budget(mode, studio.processes.local_size)
            augmented = self._batches.augmented
            augmented.kept = decode_once(augmented.load, len(studio.train), mode, budget, progress)

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
        studio = self._studio
        return studio.through(studio.network.module, studio.val_batches(), len(studio.val)).numpy()


class FeatureInputs:
    """Features of the frozen backbone, computed once, so that many epochs of the head cost one pass over the pictures.

    The backbone stays in evaluation mode: its BatchNorm statistics don't move. Pictures come through Pixels, without
    augmentation, since each is seen once.
    """

    def __init__(self, studio: Studio, advance: Any) -> None:
        self._studio = studio
        features = studio.network.features
        own = studio.train.part(studio.processes.share(len(studio.train)))
        train = plain_batches(own, studio.pixels, EVALUATION_BATCH)
        self._features = studio.through(features, _counted(train, advance), len(studio.train))
        self._val_features = studio.through(features, _counted(studio.val_batches(), advance), len(studio.val))

    @staticmethod
    def passes(studio: Studio) -> int:
        """Batches of pictures that the constructor works through in the first process, whose share is the largest."""
        shares = (-(-len(pictures) // studio.processes.size) for pictures in (studio.train, studio.val))
        return sum(-(-share // EVALUATION_BATCH) for share in shares)

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
        for together in torch.split(order, self._size):
            chosen = together[self._studio.processes.share(len(together))]
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


def _workers(config: TrainConfig, processes: Processes) -> int:
    """Processes that decode and augment: one fewer than the cores of this process, at most 8; none on a single core."""
    if config.workers is not None:
        return config.workers
    return max(0, min(8, usable_cores() // processes.local_size - 1))
