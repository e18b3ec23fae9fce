"""The pixel contract: how an image of any size becomes the (H, W, 3) uint8 RGB array that the graph takes.

One implementation serves validation, calibration, golden images, benchmark and device. Normalisation is not here: it is
the graph's first layer. The geometry equals torchvision's and timm's evaluation transforms on PIL images bit for bit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgeclf_runtime.images.decode import decode
from edgeclf_runtime.images.limits import Limits
from edgeclf_runtime.images.memory_budget import Reserve
from edgeclf_runtime.images.orientation import Reduced
from edgeclf_runtime.images.simd_resize import resize_box, resizer_facts
from edgeclf_runtime.images.sources import ImageSource

PixelMode = Literal["exact", "fast"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]
_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
}

_JUMPING = (Image.Resampling.NEAREST, Image.Resampling.BOX)  # at ties, where a shifted origin rounds otherwise
_LARGEST_RESIZE_PX = 64_000_000
_WIDEST_SUPPORT_PX = 3  # lanczos, the widest of them
_FLOAT32_WHOLE = 2**24  # up to which float32 holds all integers


@dataclass(frozen=True, slots=True)
class Pixels:
    """The pixel contract: geometry from a decoded image to the network's input. Sizes are (height, width) in pixels.

    Attributes
    ----------
    resize
        "shorter": the shorter side becomes `resize_px[0]`, the other is truncated (torchvision `Resize(int)`);
        "cover": keeps the aspect ratio, covers `resize_px` (timm `ResizeKeepRatio`); "fit": keeps it, fits inside
        `resize_px` (timm "border"); "exact": becomes `resize_px` (timm "squash").
    crop_px
        Centre crop after the resize: the size of the network's input. A smaller image is padded with `padding`.
    interpolation
        Of the resize, as Pillow computes it.
    padding
        RGB colour of 0..255 around an image that is smaller than `crop_px`.
    background
        RGB colour of 0..255 under transparent pixels.
    value_range
        Stored values that become 0 and 255 in images of more than 8 bits; None: all bits.

    Raises
    ------
    ValueError
        Sizes, colours or a range that are not valid.

    Examples
    --------
    >>> from edgeclf_runtime import Pixels
    >>> pixels = Pixels("shorter", resize_px=(256, 256), crop_px=(224, 224), interpolation="bicubic")
    >>> pixels.resized_size(640, 480)  # width, height
    (341, 256)
    >>> array, notes = pixels.load("photos/lake.jpg")
    >>> array.shape, array.dtype
    ((224, 224, 3), dtype('uint8'))
    """

    resize: Literal["shorter", "cover", "fit", "exact"]
    resize_px: tuple[int, int]
    crop_px: tuple[int, int]
    interpolation: Interpolation = "bilinear"
    padding: tuple[int, int, int] = (0, 0, 0)
    background: tuple[int, int, int] = (255, 255, 255)
    value_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if min(self.resize_px + self.crop_px) < 1 or max(self.resize_px + self.crop_px) > 16384:
            raise ValueError(f"sizes must lie in 1..16384 px: resize {self.resize_px}, crop {self.crop_px}")
        if self.resize == "shorter" and self.resize_px[0] != self.resize_px[1]:
            raise ValueError(f"resize 'shorter' takes one number, found {self.resize_px}")
        if not all(0 <= level <= 255 for level in self.padding + self.background):
            raise ValueError(f"colours must lie in 0..255: {self.padding}, {self.background}")
        if self.value_range is not None and not self.value_range[0] < self.value_range[1]:
            raise ValueError(f"value range must rise, found {self.value_range}")

    def load(
        self,
        source: ImageSource,
        *,
        channels: str = "rgb",
        limits: Limits = Limits(),
        mode: PixelMode = "exact",
        reserve: Reserve | None = None,
    ) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
        """Decodes `source`; returns the (H, W, 3) uint8 RGB array and the decoder's notes. Raises ImageError.

        "fast" reads a large JPEG at half, a quarter or an eighth of its size, at least twice the one wanted, and
        resizes by `simd_resize`: its pixels are some levels off.
        """
        if isinstance(source, np.ndarray) and (cut := self._cut(source, channels, limits)) is not None:
            return cut, ()
        decoded = decode(
            source,
            background=self.background,
            value_range=self.value_range,
            channels=channels,
            limits=limits,
            reduce=self._least_size if mode == "fast" else None,
            reserve=reserve,
        )
        return self.apply(decoded.image, mode, decoded.reduced), decoded.notes

    def apply(self, image: Image.Image, mode: PixelMode = "exact", reduced: Reduced | None = None) -> NDArray[np.uint8]:
        """RGB image of any size -> (H, W, 3) uint8."""
        width, height = self.resized_size(*(reduced.full_px if reduced else image.size))
        crop_height, crop_width = self.crop_px
        left, pad_left = _centre(width, crop_width)
        top, pad_top = _centre(height, crop_height)
        right, bottom = min(width, left + crop_width), min(height, top + crop_height)
        region, resampling = (left, top, right, bottom), _RESAMPLING[self.interpolation]
        if mode == "exact" or (width, height) == image.size or (reduced is None and resampling in _JUMPING):
            kept = _resize_region(image, (width, height), region, resampling)
        else:
            box = reduced.box if reduced else (0, 0, *image.size)
            kept = _resize_inexactly(image, box, (width, height), region, resampling)
        if kept.size != (crop_width, crop_height):
            canvas = Image.new("RGB", (crop_width, crop_height), self.padding)
            canvas.paste(kept, (pad_left, pad_top))
            kept = canvas
        return np.array(kept, dtype=np.uint8)

    def _cut(self, array: NDArray[np.generic], channels: str, limits: Limits) -> NDArray[np.uint8] | None:
        """What `apply` would keep of 8-bit RGB of the size that the resize aims at; None for all other arrays."""
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
            return None
        height, width = array.shape[:2]
        crop_height, crop_width = self.crop_px
        if height < crop_height or width < crop_width or self.resized_size(width, height) != (width, height):
            return None
        limits.check_size(width, height)
        left, top = _centre(width, crop_width)[0], _centre(height, crop_height)[0]
        kept = array[top : top + crop_height, left : left + crop_width]
        return np.array(kept if channels == "rgb" else kept[:, :, ::-1], dtype=np.uint8, order="C")

    def _least_size(self, width: int, height: int) -> tuple[int, int]:
        """Twice (width, height) after the resize: what is decoded smaller than that shows its DCT's blocks."""
        resized_width, resized_height = self.resized_size(width, height)
        return 2 * resized_width, 2 * resized_height

    def resized_size(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) after the resize, with the rounding of the transform that each rule comes from."""
        target_height, target_width = self.resize_px
        if self.resize == "exact":
            return target_width, target_height
        if self.resize == "shorter":
            longer = int(target_height * max(width, height) / min(width, height))
            size = (target_height, longer) if width <= height else (longer, target_height)
        else:
            ratios = (height / target_height, width / target_width)
            ratio = max(ratios) if self.resize == "fit" else min(ratios)
            size = (round(width / ratio), round(height / ratio))
        return max(1, size[0]), max(1, size[1])


def mode_facts(mode: PixelMode) -> dict[str, str]:
    """What a proof adds to the machine's facts: other pixels need a proof of their own. Exact ones add nothing."""
    return {} if mode == "exact" else {"pixels": mode, **resizer_facts()}


def _centre(found: int, wanted: int) -> tuple[int, int]:
    """(first pixel kept, pixels of padding before it), rounded as torchvision's and timm's centre crops do."""
    if found >= wanted:
        return round((found - wanted) / 2.0), 0
    return 0, (wanted - found) // 2


def _resize_inexactly(
    image: Image.Image,
    box: tuple[float, float, float, float],
    size: tuple[int, int],
    region: tuple[int, int, int, int],
    resampling: Image.Resampling,
) -> Image.Image:
    """`image.crop(box).resize(size).crop(region)`, near enough, with a box that cuts through pixels."""
    across, down = (box[2] - box[0]) / size[0], (box[3] - box[1]) / size[1]
    left, top, right, bottom = region
    read = (box[0] + left * across, box[1] + top * down, box[0] + right * across, box[1] + bottom * down)
    within = (*read[:2], min(read[2], image.width), min(read[3], image.height))  # rounding may end beyond
    return resize_box(image, (right - left, bottom - top), within, resampling)


class _Span(NamedTuple):
    """One axis of a resize: the source pixels first..last that are read, the box of them that is resized, what is kept.

    The box counts from `first`.
    """

    first: int
    last: int
    box: tuple[float, float]
    output_px: int
    kept: tuple[int, int]

    @property
    def read_px(self) -> int:
        return self.last - self.first

    def in_whole(self) -> _Span:
        """With the box counted from the first source pixel, not from the first that is read."""
        return self._replace(box=(self.box[0] + self.first, self.box[1] + self.first))


def _resize_region(
    image: Image.Image, size: tuple[int, int], region: tuple[int, int, int, int], resampling: Image.Resampling
) -> Image.Image:
    """`image.resize(size).crop(region)`, bit for bit, computing as little beyond `region` as exactness allows.

    Always across first and then down: Pillow 13 chooses the order itself, by sizes, and the rounding between the two
    passes shows (12 levels were seen in a bicubic resize). In two calls of one pass each, every Pillow gives the same.
    """
    if size == image.size:
        return image.crop(region)
    across = _span(image.width, size[0], region[0], region[2], resampling, other_px=image.height)
    down = _span(image.height, size[1], region[1], region[3], resampling, other_px=region[2] - region[0])
    if across.read_px * down.read_px < 0.75 * image.width * image.height:  # else the copy costs more than it saves
        image = image.crop((across.first, down.first, across.last, down.last))
    else:
        across, down = across.in_whole(), down.in_whole()
    height = image.height
    image = image.resize((across.output_px, height), resampling, box=(across.box[0], 0, across.box[1], height))
    image = image.crop((across.kept[0], 0, across.kept[1], height))
    image = image.resize((image.width, down.output_px), resampling, box=(0, down.box[0], image.width, down.box[1]))
    return image.crop((0, down.kept[0], image.width, down.kept[1]))


def _whole_step(source_px: int, output_px: int) -> int:
    """Every how many output pixels the place in the source, pixel * source / output, is a number of float32.

    Those numbers are the multiples of 1 / 2**n, for sources below 2**(24 - n) pixels.
    """
    denominator = output_px // math.gcd(source_px, output_px)
    return denominator // math.gcd(denominator, _FLOAT32_WHOLE >> source_px.bit_length())


def _span(
    source_px: int, output_px: int, first: int, last: int, resampling: Image.Resampling, *, other_px: int
) -> _Span:
    """What to compute for the pixels first..last of `output_px` that `source_px` become along one axis.

    Pillow rounds a resize's source box to float32, and where that rounds, pixels differ. So the region is widened to
    output coordinates whose places in the source float32 holds: 333 pixels that become 256 need nothing (333/256 a
    pixel), 500 that become 384 multiples of three (125/96 a pixel). Only a sliver such as 3x5000 keeps a box that is
    rounded (a level off), since its whole resize would take hundreds of MB.
    Nearest and box sampling jump at ties: their axis is resized whole.
    """
    step = output_px if resampling in _JUMPING else _whole_step(source_px, output_px)
    start, end = first // step * step, -(-last // step) * step
    if (end - start) * other_px > _LARGEST_RESIZE_PX:
        start, end = first, last
    scale = source_px / output_px
    box = (start * scale, min(end * scale, source_px))
    margin = math.ceil(_WIDEST_SUPPORT_PX * max(scale, 1.0)) + 1
    read = max(0, math.floor(box[0]) - margin), min(source_px, math.ceil(box[1]) + margin)
    return _Span(*read, (box[0] - read[0], box[1] - read[0]), end - start, (first - start, last - start))
