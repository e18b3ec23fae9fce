"""Two random views of one image, for training without labels: crops, mirrored, in other colours, grey, blurred."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeclf.training.seeds import seed_of
from edgeclf_runtime.backends.torchvision_guard import guard_torchvision
from edgeclf_runtime.images.pixels import Pixels

if TYPE_CHECKING:
    from PIL import Image

SMALLEST_CROP = 0.2  # of an image's area; the 0.08 of the papers is for ImageNet's large photographs
_BLURRED_FROM_PX = 64  # below, a blur wipes out what is there: SimCLR leaves it out on CIFAR-10 (arXiv:2002.05709, B.9)


class TwoViews:
    """Decoded image -> (2, H, W, 3) uint8, random in (seed, epoch, index) only, as `Augmenter` is.

    The recipe is VICReg's without its solarisation. What a view may change is what the network learns not to see, so
    flips can be left out where sides matter.
    """

    def __init__(self, pixels: Pixels, seed: int, *, hflip: bool = True, vflip: bool = False) -> None:
        self._made_of = pixels, seed, hflip, vflip
        self._seed = seed
        self._transform = _compose(pixels, hflip=hflip, vflip=vflip)

    def __reduce__(self) -> tuple[Any, ...]:
        return _two_views, self._made_of  # as `Augmenter` does

    def __call__(self, image: Image.Image, epoch: int, index: int) -> NDArray[np.uint8]:
        return self.finish(self.prepare(image), epoch, index)

    def prepare(self, image: Image.Image) -> Image.Image:
        """The image as it is: the random crop comes first, so nothing can be prepared once."""
        return image

    def finish(self, prepared: Image.Image | NDArray[np.uint8], epoch: int, index: int) -> NDArray[np.uint8]:
        """The views of what `prepare` gave, or of an array of it."""
        import torch
        from PIL import Image

        image = Image.fromarray(prepared) if isinstance(prepared, np.ndarray) else prepared
        with torch.random.fork_rng(devices=[]):  # torchvision draws from the global generator
            torch.default_generator.manual_seed(seed_of(self._seed, "views", epoch, index))
            views = torch.stack([self._transform(image) for _ in range(2)])
        return np.ascontiguousarray(views.permute(0, 2, 3, 1).numpy())


def _two_views(pixels: Pixels, seed: int, hflip: bool, vflip: bool) -> TwoViews:
    return TwoViews(pixels, seed, hflip=hflip, vflip=vflip)


def _compose(pixels: Pixels, *, hflip: bool, vflip: bool) -> Any:
    guard_torchvision()
    import torch
    from torchvision.transforms import InterpolationMode, v2

    side = min(pixels.crop_px)
    steps: list[Any] = [
        v2.RandomResizedCrop(
            pixels.crop_px, scale=(SMALLEST_CROP, 1.0), interpolation=InterpolationMode(pixels.interpolation)
        )
    ]
    if hflip:
        steps.append(v2.RandomHorizontalFlip())
    if vflip:
        steps.append(v2.RandomVerticalFlip())
    steps += [
        v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.2, 0.1)], p=0.8),
        v2.RandomGrayscale(p=0.2),
        v2.ToImage(),
        v2.ToDtype(torch.uint8),
    ]
    if side >= _BLURRED_FROM_PX:
        steps.append(v2.RandomApply([v2.GaussianBlur(side // 20 * 2 + 1, sigma=(0.1, 2.0))], p=0.5))
    return v2.Compose(steps)
