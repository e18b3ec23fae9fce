"""The image cache: training images, decoded once and kept in memory as far as they fit.

It holds images as they are before the first random step, so that a training gets the same images, bit for bit, with and
without it. Data workers that are forked from the process that holds it share it, others have copies of their own.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeclf.wording import size
from edgeclf_runtime.images.threads import in_threads
from edgeclf_runtime.progress import Progress

_SHARES = {"auto": 1 / 4, "on": 1 / 2}  # of the memory that is free now
_SAMPLE = 32


def decode_once(
    load: Callable[[int], NDArray[np.uint8]], count: int, mode: str, budget: int, progress: Progress
) -> dict[int, NDArray[np.uint8]]:
    """Index -> array of the images 0..count that fit into `budget` bytes; "auto" keeps all or none, by a sample."""
    sample = {index: load(index) for index in range(0, count, max(1, count // _SAMPLE))}
    expected = sum(image.nbytes for image in sample.values()) * count // len(sample)
    if mode == "auto" and expected > budget:
        progress.note(
            f"images are decoded anew in each epoch: decoded they take about {size(expected)}, "
            f"{size(budget)} may be used; --image-cache on keeps what fits"
        )
        return {}
    kept: dict[int, NDArray[np.uint8]] = {}
    taken = 0
    progress.step("decoding", min(count, count * budget // max(expected, 1)))
    images = in_threads(lambda index: sample[index] if index in sample else load(index), range(count))
    for index, image in enumerate(images):
        if (taken := taken + image.nbytes) > budget:
            break
        kept[index] = image
        progress.advance()
    held = size(sum(image.nbytes for image in kept.values()))
    whole = "all" if len(kept) == count else f"{len(kept):,} of {count:,}"
    progress.note(f"{whole} training images stay decoded in memory ({held}); --image-cache off keeps none")
    return kept


def cache_budget(mode: str, processes: int, root: Path = Path("/")) -> int:
    """Bytes that each of the `processes` of this machine may keep images in."""
    return int(free_memory(root) * _SHARES[mode] / processes)


def free_memory(root: Path = Path("/")) -> int:
    """Bytes that can be used without swapping: of the machine, or of the control group where that holds less (v2)."""
    free = re.search(r"^MemAvailable:\s+(\d+)", (root / "proc/meminfo").read_text(), re.MULTILINE)
    found = int(free[1]) * 1024 if free else 0
    group = root / "sys/fs/cgroup"
    try:
        limit, used = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
    except (OSError, ValueError):  # no such group, or its limit is "max"
        return found
    return max(0, min(found, limit - used))
