"""What `verify` tolerates of an int8 model: what was measured of it, and some headroom."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.bundle.proof import TOLERANCES, Tolerances, compare

_HEADROOM = 1.5  # between the machine that exports and another with other kernels


def measured_tolerances(
    reference: NDArray[np.float32], logits: NDArray[np.float32], label_logits: NDArray[np.float64] | None = None
) -> Tolerances:
    """What `verify` tolerates on other machines: half as much again as was measured here, on all these images.

    `label_logits` as for `compare`.
    """
    seen = compare(reference, logits, TOLERANCES["int8"], label_logits)
    return Tolerances(
        relative=max(_HEADROOM * seen.max_relative, TOLERANCES["fp16"].relative),
        cosine=min(1 - _HEADROOM * (1 - seen.min_cosine), TOLERANCES["fp16"].cosine),
        kl=max(_HEADROOM * seen.max_kl, TOLERANCES["fp16"].kl),
    )


def are_plausible(seen: Tolerances) -> bool:
    """Whether such differences come of rounding to int8 at all: beyond, a proof has to fail."""
    most = TOLERANCES["int8"]
    return seen.relative <= most.relative and seen.cosine >= most.cosine and seen.kl <= most.kl
