"""The golden images and texts of a bundle: the exporter's pixels, and whether this machine decodes the same."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.golden import GoldenImage
from edgeclf_runtime.errors import BundleError, EdgeclfError, ImageError, UsageError
from edgeclf_runtime.text.golden_texts import tokens_fault


def golden_batch(bundle: Bundle) -> NDArray[np.uint8]:
    """(N, H, W, 3) uint8: the exporter's pixels of all golden images."""
    pixels = [_golden_pixels(bundle, golden) for golden in bundle.manifest.golden.images]
    if not pixels:
        raise BundleError(f"{bundle.path}: no golden images to verify with; export the bundle again")
    if len({item.shape for item in pixels}) > 1:
        raise BundleError(f"{bundle.path}: golden pixels of several sizes; export the bundle again")
    return np.stack(pixels)


def _golden_pixels(bundle: Bundle, golden: GoldenImage) -> NDArray[np.uint8]:
    """The exporter's pixels of a golden image, stored without loss."""
    try:
        with Image.open(io.BytesIO(bundle.read(golden.pixels)), formats=["PNG"]) as image:
            pixels = np.array(image.convert("RGB"), dtype=np.uint8)
    except (OSError, SyntaxError, ValueError) as error:
        raise BundleError(f"{bundle.path}/{golden.pixels}: no PNG ({error})") from error
    if pixels_digest(pixels) != golden.pixels_sha256:
        raise BundleError(f"{bundle.path}/{golden.pixels}: this Pillow reads other pixels from a PNG; update Pillow")
    return pixels


def in_chunks(batch: NDArray[Any], size: int = 8) -> list[NDArray[Any]]:
    """A batch in pieces of at most `size`; some go alone, half of a small set.

    An engine may run another program for one item than for several.
    """
    alone = min(len(batch) // 2, size)
    chunks = [batch[place : place + 1] for place in range(alone)]
    return chunks + ([batch[start : start + size] for start in range(alone, len(batch), size)] or [batch])


def fast_batch(bundle: Bundle, exact: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(N, H, W, 3) uint8: the golden images as the mode "fast" reads them."""
    pixels = bundle.manifest.pixels
    if pixels is None:
        raise UsageError(f"{bundle.path} takes no images; fast pixels are for those that do")
    batch = np.stack(
        [pixels.load(bundle.read(golden.image), mode="fast")[0] for golden in bundle.manifest.golden.images]
    )
    if batch.shape != exact.shape:
        raise BundleError(f"{bundle.path}: golden images give pixels of {batch.shape}, not {exact.shape}")
    return batch


def decoding_faults(bundle: Bundle, batch: NDArray[Any]) -> list[tuple[str, int] | None]:
    """(what, largest difference in levels) of each golden item and probe that comes out otherwise than at export."""
    if bundle.manifest.task == "embed-text":
        return tokens_fault(bundle, batch)
    return [_decoding_fault(bundle, image, batch[i]) for i, image in enumerate(bundle.manifest.golden.images)]


def _decoding_fault(bundle: Bundle, golden: GoldenImage, wanted: NDArray[np.uint8]) -> tuple[str, int] | None:
    """(image, largest difference in levels) where this machine decodes other pixels than the exporter did."""
    pixels = bundle.manifest.pixels
    if pixels is None:
        return None
    try:
        found, _ = pixels.load(bundle.read(golden.image))
    except EdgeclfError:
        return golden.image, 255
    if found.shape != wanted.shape:
        return golden.image, 255
    levels = int(np.abs(found.astype(np.int16) - wanted).max())
    return (golden.image, levels) if levels else None


def probe_faults(bundle: Bundle) -> Iterator[str]:
    """What the synthetic images show to be read otherwise than where the bundle was made."""
    pixels, probes = bundle.manifest.pixels, bundle.manifest.golden.probes
    if pixels is None:
        return
    if bundle.manifest.own is not None and not probes:
        yield "the bundle keeps own outputs without synthetic images of transparency and 16 bits; export it again"
    for probe in probes:
        try:
            found, _ = pixels.load(bundle.read(probe.image))
        except ImageError as error:
            yield f"the synthetic image that shows {probe.shows} can't be read ({error})"
            continue
        if pixels_digest(found) != probe.pixels_sha256:
            yield f"{probe.shows} comes out otherwise than where the bundle was made"


def pixels_digest(pixels: NDArray[Any]) -> str:
    """SHA-256 of an array's shape and bytes."""
    return hashlib.sha256(repr(pixels.shape).encode() + np.ascontiguousarray(pixels).tobytes()).hexdigest()
