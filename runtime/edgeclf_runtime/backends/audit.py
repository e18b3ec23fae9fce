"""The audit: which share of a network's multiplications an engine computes in which precision, and how much is enough.

An engine is free to choose kernels, so what was requested is compared with what it reports. Convolutions and
matrix products count, by their multiply-accumulates (MACs); LayerNorm, softmax and the like may stay in float.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from edgeclf_runtime.bundle.quantization_report import shares_in_words
from edgeclf_runtime.errors import GateError

LEAST_SHARE = 0.8
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Work:
    """A convolution or matrix product: its node, its multiply-accumulates for one image, what it is computed in."""

    node: str
    macs: int
    precision: str


@dataclass(frozen=True, slots=True)
class Audit:
    """Share (0..1) of the multiply-accumulates of convolutions and matrix products by the precision they run in.

    "unknown" is the share whose precision the engine does not report.
    """

    shares: dict[str, float]

    def share(self, *precisions: str) -> float:
        return sum(self.shares.get(precision, 0.0) for precision in precisions)

    def shortfall(self, precision: str, *, tf32: bool = False) -> str | None:
        """The sentence where too little runs in `precision`; None: enough does, or it is not reported.

        "mixed" is int8 and others. `tf32`: it may stand for fp32.
        """
        found = self.share(*_wanted(precision, tf32))
        if not self.shares or found + self.share(UNKNOWN) >= LEAST_SHARE:
            return None
        percent = math.floor(1000 * found) / 10  # rounded up, 79.96 % would be what is wanted
        return (
            f"of the multiplications of convolutions and matrix products only {percent:g}% run in "
            f"{_wanted(precision, tf32)[0]} ({shares_in_words(self.shares)}), wanted {LEAST_SHARE:.0%}"
        )


def _wanted(precision: str, tf32: bool) -> tuple[str, ...]:
    if precision == "mixed":
        return ("int8",)
    return (precision, "tf32") if precision == "fp32" and tf32 else (precision,)


def audit(work: Iterable[Work]) -> Audit:
    """The shares that follow from the single convolutions and products."""
    macs: dict[str, int] = defaultdict(int)
    for item in work:
        macs[item.precision] += item.macs
    total = sum(macs.values())
    return Audit({precision: found / total for precision, found in sorted(macs.items()) if found})


def check_audit(found: Audit, precision: str, *, tf32: bool = False, where: str, advice: str = "") -> str | None:
    """None where enough runs in `precision`; a sentence where the engine does not report enough.

    Raises GateError where too little does, with the `advice` what to do.
    """
    if shortfall := found.shortfall(precision, tf32=tf32):
        raise GateError("; ".join(filter(None, (f"{where}: requested {precision}, but {shortfall}", advice))))
    if found.shares and found.share(*_wanted(precision, tf32)) < LEAST_SHARE:
        return f"the engine does not report whether it computes in {precision} ({shares_in_words(found.shares)})"
    return None


def multiply_accumulates(counted: Iterable[int], met: Iterable[int]) -> int:
    """Products for one image: every number of the shape `counted` is multiplied with as many as the shape `met` has.

    A convolution counts its output and a transposed one its input, and each number meets a kernel over the channels of
    its group; a matrix product counts its output, and each number meets the shared side. A size that is only known
    later, 0 or less, counts as 1: the batch is one image.
    """
    return math.prod(max(1, size) for size in (*counted, *met))
