"""Which batch size gives the most images a second here: measured on the engine with all of its streams busy.

Where each stream computes in one thread of a CPU, images are counted per second of CPU time: other processes that
take cores away then change little, and the choice is the same in each run. Beside 14 processes on two cores the ratio
of two sizes varied by 0.05 over eight runs, and by 0.3 where the clock was read instead. Other work of this process
counts, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.backends.engine import is_cpu
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.manifest import to_input
from edgeclf_runtime.bundle.proof import TOLERANCES, compare, deviations
from edgeclf_runtime.deploy.golden_items import golden_batch
from edgeclf_runtime.deploy.latency import one_input
from edgeclf_runtime.session import Session

T = TypeVar("T")
SIZES = (1, 4, 8)
# The rate that a size needs, times that of the one before. In doubt it is 4: fewer calls also leave more to decoding,
# which the engine alone does not show (ResNet-50 in INT8: 1.02 to 1.06 of the engine, 1.09 of the whole).
_LEAST = (0.97, 1.08)
_HOPED = 0.05  # of the engine's time, all told: most trials end with one at a time, and decoding gains nothing
_ROUNDS, _MORE_ROUNDS, _SECONDS_A_ROUND = (
    3,
    6,
    0.05,
)  # sizes take turns: a moment when the machine is busy is not held against one


class Workers(Protocol):
    """`ImagePipeline`: its threads are those that will infer, and each may keep a compiled model."""

    def in_each_worker(self, work: Callable[[], T]) -> list[T]: ...


@dataclass(frozen=True, slots=True)
class BatchChoice:
    """A batch size, and why.

    Attributes
    ----------
    size
        Images per inference call.
    gain
        Images a second (on a CPU: of its time) over those of batches of one; 1: it is one, or nothing was measured.
    refused
        Why a faster size was not taken, in words, or None.
    """

    size: int = 1
    gain: float = 1.0
    refused: str | None = None


def choose_batch_size(
    session: Session, bundle: Bundle, workers: Workers, images: int | None = None, *, largest: int = SIZES[-1]
) -> BatchChoice:
    """The batch size for so many `images` (None: very many), of SIZES up to `largest`.

    A larger size is tried only where what it may save on these images is more than its trial costs. It is taken where
    it is clearly faster (4: not slower than one at a time), and gives what batches of one give on the golden images,
    within the tolerances of its precision.
    """
    choice, image = BatchChoice(), one_input(bundle.manifest)
    if bundle.manifest.inputs[0].fixed_batch is not None:
        return choice
    images_per_s = partial(_images_per_s, session, workers)
    workers.in_each_worker(partial(session, image))
    alone_s = 1 / images_per_s(image)
    for size, least in zip(SIZES[1:], _LEAST, strict=True):
        if size > largest:
            break
        trial_s = session.streams * session.compile_s + 2 * _ROUNDS * _SECONDS_A_ROUND
        if images is not None and _HOPED * images * alone_s / choice.gain < trial_s:
            break
        before, batch = np.repeat(image, choice.size, axis=0), np.repeat(image, size, axis=0)
        workers.in_each_worker(partial(session, batch))  # compiles for the shape
        gains = [images_per_s(batch) / images_per_s(before) for _ in range(_ROUNDS)]
        if min(gains) < least <= max(gains):  # in doubt more: the choice is to be the same in each run
            gains += [images_per_s(batch) / images_per_s(before) for _ in range(_MORE_ROUNDS)]
        if (gain := median(gains)) < least:
            break
        if refused := _difference(session, bundle, size):
            return BatchChoice(choice.size, choice.gain, refused)
        choice = BatchChoice(size, choice.gain * gain)
    return choice


def _difference(session: Session, bundle: Bundle, size: int) -> str | None:
    """In words, how golden images in batches of `size` come out otherwise than one by one; None: they don't."""
    manifest = bundle.manifest
    if manifest.task != "classify" or not manifest.golden.images:
        return None
    pixels = to_input(golden_batch(bundle), manifest.normalization)
    pixels = np.concatenate([pixels] * -(-size // len(pixels)))[: max(size, len(pixels))]
    tolerances = TOLERANCES["fp32" if manifest.compute_precision in ("int8", "mixed") else manifest.compute_precision]
    one_by_one = np.concatenate([session(pixels[place : place + 1]) for place in range(len(pixels))])
    together = np.concatenate([session(pixels[start : start + size]) for start in range(0, len(pixels), size)])
    faults = deviations(
        compare(one_by_one, together, tolerances, manifest.label_logits), tolerances, "golden images", "outputs"
    )
    return f"in batches of {size} {faults[0]}" if faults else None


def _images_per_s(session: Session, workers: Workers, batch: NDArray[np.generic]) -> float:
    """Of all streams together; of CPU time: as if each had its core to itself."""
    fine = time.get_clock_info("process_time").resolution < _SECONDS_A_ROUND / 100  # Windows counts in steps of 16 ms
    of_cpu = fine and is_cpu(session.facts["device"]) and session.threads == session.streams
    clock, at_once = (time.process_time, session.streams) if of_cpu else (time.perf_counter, 1)

    def infer_for_a_while() -> int:
        calls, end = 0, time.perf_counter() + _SECONDS_A_ROUND
        while not calls or time.perf_counter() < end:
            session(batch)
            calls += 1
        return calls

    start = clock()
    calls = sum(workers.in_each_worker(infer_for_a_while))
    return calls * len(batch) * at_once / (clock() - start)
