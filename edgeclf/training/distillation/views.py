"""Views that teacher and student share: one crop of an image, which each of them sees in its own size."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from edgeclf_runtime.images.pixels import Pixels

if TYPE_CHECKING:
    import torch


def view_pixels(student: Pixels, teacher: Pixels) -> Pixels:
    """The student's geometry, in the teacher's size where that is larger: none of the two is shown scaled-up pixels."""
    height, width = student.crop_px
    scale = max(1.0, teacher.crop_px[0] / height, teacher.crop_px[1] / width)
    (high, wide), (tall, broad) = student.resize_px, student.crop_px
    return replace(
        student,
        resize_px=(round(high * scale), round(wide * scale)),
        crop_px=(round(tall * scale), round(broad * scale)),
    )


def resized(images: torch.Tensor, size_px: tuple[int, int]) -> torch.Tensor:
    """(N, C, H, W) float images -> (N, C, *size_px); antialiased and bilinear, so that no value leaves their range."""
    import torch

    if tuple(images.shape[2:]) == size_px:
        return images
    if not len(images):
        return images.new_empty((0, images.shape[1], *size_px))
    return torch.nn.functional.interpolate(images, size_px, mode="bilinear", antialias=True, align_corners=False)
