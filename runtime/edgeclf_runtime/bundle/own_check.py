"""How a bundle's outputs here compare with those that it gave where it was made: the same computation, as near?"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.bundle.proof import (
    TOLERANCES,
    OwnCheck,
    Tolerances,
    coarser,
    compare,
    compare_embeddings,
    deviations,
    spans,
)

# Against the outputs that a bundle itself gave where it was made, in the same batches. Where engine, version and
# processor are the same, every network tried gave the same bits, whatever the threads (other batches moved a ViT by
# 5.5e-3); a mean wrong by 0.005 moves int8 by 4e-2 on the worst image. Other processors' kernels moved int8 by 4e-2 at
# most, with weights of 7 bits. docs/proof.md has the figures.
SAME_PROCESSOR = Tolerances(relative=2e-3, cosine=0.9999, kl=1e-4)
OTHER_PROCESSOR = {**TOLERANCES, "int8": Tolerances(relative=0.1, cosine=0.99, kl=0.02)}
# So much may the distance from the reference grow, and by a half (KL: a quarter) of what is tolerated here.
FARTHER = 1.5


def own_tolerances(stored: str, computed: Collection[str], differs: bool) -> Tolerances:
    """How far outputs may lie from the bundle's own: weights of `stored`, `computed` there and here."""
    precisions = {stored, *computed}
    if differs:
        return coarser(*(OTHER_PROCESSOR.get(each, OTHER_PROCESSOR["int8"]) for each in precisions))
    return TOLERANCES["fp32"] if precisions == {"fp32"} else SAME_PROCESSOR


def check_own(
    reference: NDArray[np.float32],
    own: NDArray[np.float32],
    found: NDArray[np.float32],
    tolerances: Tolerances,
    differs: tuple[str, ...],
    *,
    classifies: bool,
    label_logits: NDArray[np.float64] | None = None,
) -> OwnCheck:
    """(N, width) outputs of the reference, of the bundle where it was made, and of the bundle here.

    `label_logits`: of a classifier of several labels an image, as for `compare`.
    """
    comparing = partial(compare, label_logits=label_logits) if classifies else compare_embeddings
    there, here = (_distance(reference, outputs, label_logits is not None) for outputs in (own, found))
    kl_there, kl_here = (comparing(reference, outputs, tolerances).mean_kl for outputs in (own, found))
    return OwnCheck(comparing(own, found, tolerances), tolerances, differs, here, there, kl_here, kl_there)


def own_failures(check: OwnCheck, *, items: str = "images", outputs: str = "logits") -> tuple[str, ...]:
    """What is wrong, in words: another computation than where it was made, or one farther from the reference."""
    return (
        *own_computation_failures(check, items=items, outputs=outputs),
        *own_distance_failures(check, items=items, outputs=outputs),
    )


def own_computation_failures(check: OwnCheck, *, items: str = "images", outputs: str = "logits") -> tuple[str, ...]:
    """Where the bundle computes something else here than where it was made."""
    reasons = deviations(check.comparison, check.tolerances, items, outputs)
    return (f"{'; '.join(reasons)} from what this bundle gave where it was made",) if reasons else ()


def own_distance_failures(check: OwnCheck, *, items: str = "images", outputs: str = "logits") -> tuple[str, ...]:
    """Where the bundle is farther from its reference here than where it was made, on average over the items."""
    limit, reasons = check.tolerances, []
    farthest = FARTHER * check.distance_at_export + limit.relative / 2
    most_kl = FARTHER * check.kl_at_export + limit.kl / 4
    if not check.distance <= farthest:
        reasons.append(
            f"{outputs} lie {check.distance:.2g} of their range from the reference's (root mean square over {items}), "
            f"{check.distance_at_export:.2g} where it was made, tolerated {farthest:.2g}"
        )
    if not check.kl <= most_kl:
        reasons.append(
            f"mean KL divergence from the reference is {check.kl:.2g}, {check.kl_at_export:.2g} where it was made, "
            f"tolerated {most_kl:.2g}"
        )
    return tuple(reasons)


def _distance(reference: NDArray[np.float32], found: NDArray[np.float32], from_zero: bool) -> float:
    """Root mean square over the items of max |difference| over the reference's range; 1 where nothing is finite."""
    wanted = reference.astype(np.float64)
    deviation = np.abs(wanted - found).max(axis=1) / spans(wanted, from_zero=from_zero)
    finite = deviation[np.isfinite(deviation)]
    return float(np.sqrt((finite**2).mean())) if len(finite) else 1.0
