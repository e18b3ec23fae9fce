"""Augmentation of training images: named recipes and single switches, through torchvision v2.

The randomness of an image follows from (seed, epoch, index) alone, whichever process makes it: that is what makes a
resumed training exact. Validation and test never pass here; they use the runtime's Pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeclf.training.choices import RecipeName
from edgeclf.training.seeds import seed_of
from edgeclf_runtime.backends.torchvision_guard import guard_torchvision
from edgeclf_runtime.errors import UsageError
from edgeclf_runtime.images.pixels import Pixels

if TYPE_CHECKING:
    from PIL import Image

UPRIGHT_DEGREES = 30


@dataclass(frozen=True, slots=True)
class Switches:
    """Single augmentations on top of a recipe. None or False: as the recipe has it.

    `rotate` and `shear` are the largest angles in degrees; `jitter` scales brightness, contrast and saturation by up to
    1 ± jitter, and turns the hue by a quarter of it; `rand_augment` is the magnitude 0..30 (Cubuk et al., 2020).
    """

    hflip: bool | None = None
    vflip: bool = False
    rotate: float | None = None
    shear: float | None = None
    jitter: float | None = None
    rand_augment: int | None = None

    def __post_init__(self) -> None:
        for name, highest in (("rotate", 180.0), ("shear", 89.0), ("jitter", 1.0), ("rand_augment", 30)):
            if (found := getattr(self, name)) is not None and not 0 <= found <= highest:
                raise UsageError(f"{name.replace('_', ' ')} must lie in 0..{highest:g}, found {found}")

    def warnings(self) -> tuple[str, ...]:
        """Augmentations that may lower accuracy, as sentences for the user."""
        found = []
        if self.rotate is not None and self.rotate > UPRIGHT_DEGREES:
            found.append(
                f"rotation by up to {self.rotate:g}°: above {UPRIGHT_DEGREES}° hurts where things stand upright"
            )
        if self.vflip:
            found.append("vertical flip: only for images without up and down, such as satellite or microscope ones")
        return tuple(found)

    @property
    def any(self) -> bool:
        return any(getattr(self, field.name) not in (None, False) for field in fields(self))


@dataclass(frozen=True, slots=True)
class Recipe:
    """A named set of augmentations, in the order in which they are applied. `mixing`: (MixUp, CutMix) alphas."""

    contents: str
    crop: str
    hflip: bool = False
    jitter: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    trivial: bool = False
    erase: float = 0.0
    mixing: tuple[float, float] = (0.0, 0.0)


RECIPES: dict[RecipeName, Recipe] = {
    "none": Recipe("nothing: the same pixels as validation", crop="pixels"),
    "light": Recipe("random crop after the resize, horizontal flip", crop="random", hflip=True),
    "standard": Recipe(
        "random crop after the resize, horizontal flip, jitter: brightness 0.2, contrast 0.2, saturation 0.1, hue 0.05",
        crop="random",
        hflip=True,
        jitter=(0.2, 0.2, 0.1, 0.05),
    ),
    "strong": Recipe(
        "random resized crop (8 to 100 % of the area), horizontal flip, TrivialAugmentWide, erasing with p = 0.25, "
        "MixUp alpha 0.4 and CutMix alpha 1.0",
        crop="resized",
        hflip=True,
        trivial=True,
        erase=0.25,
        mixing=(0.4, 1.0),
    ),
}


class Augmenter:
    """Decoded image -> (H, W, 3) uint8, by recipe and switches, random in (seed, epoch, index) only.

    In two halves: `prepare` does what is the same each time, so that it can be done once; `finish` draws.
    """

    def __init__(self, recipe: RecipeName, switches: Switches, pixels: Pixels, seed: int) -> None:
        self._made_of = recipe, switches, pixels, seed
        self._pixels = pixels
        self._seed = seed
        self._crop = RECIPES[recipe].crop
        self._resize = _resize(pixels) if self._crop == "random" else None
        plain = recipe == "none" and not switches.any
        self._transform: Any = None if plain else _compose(RECIPES[recipe], switches, pixels)

    def __reduce__(self) -> tuple[Any, ...]:
        return Augmenter, self._made_of  # made anew in another process, which may have to guard torchvision first

    def __call__(self, image: Image.Image, epoch: int, index: int) -> NDArray[np.uint8]:
        return self.finish(self.prepare(image), epoch, index)

    def prepare(self, image: Image.Image) -> Image.Image | NDArray[np.uint8]:
        """The decoded image up to where the random part starts: pixels of validation, resized, or as it is."""
        if self._crop == "pixels":
            return self._pixels.apply(image)
        return image if self._resize is None else self._resize(image)

    def finish(self, prepared: Image.Image | NDArray[np.uint8], epoch: int, index: int) -> NDArray[np.uint8]:
        """What `prepare` gave, or an array of it, augmented."""
        import torch
        from PIL import Image

        if isinstance(prepared, np.ndarray) and self._transform is None:
            return prepared
        if isinstance(prepared, np.ndarray) and self._crop != "pixels":
            prepared = Image.fromarray(prepared)
        with torch.random.fork_rng(devices=[]):  # torchvision draws from the global generator
            torch.default_generator.manual_seed(seed_of(self._seed, epoch, index))  # the GPU's are left alone
            tensor = self._transform(prepared)
        return np.ascontiguousarray(tensor.permute(1, 2, 0).numpy())


def _resize(pixels: Pixels) -> Any:
    guard_torchvision()
    from torchvision.transforms import InterpolationMode, v2

    size = pixels.resize_px[0] if pixels.resize == "shorter" else pixels.resize_px
    return v2.Resize(size, InterpolationMode(pixels.interpolation))


def _compose(recipe: Recipe, switches: Switches, pixels: Pixels) -> Any:
    """What follows `prepare`."""
    guard_torchvision()
    import torch
    from torchvision.transforms import InterpolationMode, v2

    interpolation = InterpolationMode(pixels.interpolation)
    steps: list[Any] = []
    if recipe.crop == "resized":
        steps.append(v2.RandomResizedCrop(pixels.crop_px, scale=(0.08, 1.0), interpolation=interpolation))
    elif recipe.crop == "random":
        steps.append(v2.RandomCrop(pixels.crop_px, pad_if_needed=True))
    else:
        steps.append(v2.Lambda(v2.functional.to_image))
    if recipe.hflip if switches.hflip is None else switches.hflip:
        steps.append(v2.RandomHorizontalFlip())
    if switches.vflip:
        steps.append(v2.RandomVerticalFlip())
    if switches.rotate or switches.shear:
        steps.append(
            v2.RandomAffine(switches.rotate or 0, shear=switches.shear, interpolation=InterpolationMode.BILINEAR)
        )
    jitter = recipe.jitter if switches.jitter is None else (*(switches.jitter,) * 3, min(switches.jitter / 4, 0.5))
    if any(jitter):
        steps.append(v2.ColorJitter(*jitter))
    if recipe.trivial:
        steps.append(v2.TrivialAugmentWide(interpolation=InterpolationMode.BILINEAR))
    if switches.rand_augment is not None:
        steps.append(v2.RandAugment(magnitude=switches.rand_augment, interpolation=InterpolationMode.BILINEAR))
    steps += [v2.ToImage(), v2.ToDtype(torch.uint8)]
    if recipe.erase:
        steps.append(v2.RandomErasing(recipe.erase, value=pixels.padding if any(pixels.padding) else 127))
    return v2.Compose(steps)
