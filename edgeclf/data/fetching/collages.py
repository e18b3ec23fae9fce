"""Images with several labels, made of patches of photographs: which photographs is a collage of?

The labels are true, but the images are made up: nothing that a camera takes looks like them.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgeclf.data.fetching.embedded import PATCH_PX, load_blocks
from edgeclf.data.fetching.fetched import Fetched

_CELLS = [(x, y) for y in (0, PATCH_PX) for x in (0, PATCH_PX)]
_SIDE_PX = 2 * PATCH_PX
_COARSE_PX = 6  # of the random levels that become the background


def load_collages(downloads: Path) -> Iterator[Fetched]:
    """Grey images of 96 px: patches of two photographs, of one or of none in random corners, each on clouds of its own.

    Two blocks of photo-patches that lie in one split give four collages, three of two patches and one of a single one,
    and every other pair one without any. The pair is their group. Two blocks of one photograph have one label.
    """
    splits: dict[str | None, list[list[Fetched]]] = defaultdict(list)
    for block in load_blocks():
        splits[block[0].split].append(block)
    for blocks in splits.values():
        shuffled = sorted(blocks, key=lambda block: hashlib.sha256(str(block[0].group).encode()).digest())
        pairs = zip(shuffled[::2], shuffled[1::2], strict=False)
        for number, (first, second) in enumerate(pairs):
            parts: list[list[Fetched]] = [list(both) for both in zip(first, second, strict=True)]
            parts[3].pop()
            for place, patches in enumerate(parts if number % 2 else [*parts, []]):
                yield _collage(patches, f"{first[0].split}_{number:03}_{place}", first[0])


def _collage(patches: Sequence[Fetched], name: str, first: Fetched) -> Fetched:
    random = np.random.default_rng(list(hashlib.sha256(name.encode()).digest()))
    image = _clouds(random)
    for patch, cell in zip(patches, random.permutation(len(_CELLS)).tolist(), strict=False):
        assert isinstance(patch.image, Image.Image)  # patches are made in memory
        image.paste(patch.image, _CELLS[cell])
    labels = tuple(sorted({str(patch.label) for patch in patches}))
    return Fetched(image, labels, first.split, name, name.rpartition("_")[0])


def _clouds(random: np.random.Generator) -> Image.Image:
    levels: NDArray[np.uint8] = random.integers(0, 256, (_COARSE_PX, _COARSE_PX), dtype=np.uint8)
    return Image.fromarray(levels).resize((_SIDE_PX, _SIDE_PX), Image.Resampling.BICUBIC)
