"""The one figure that an evaluation is known by, whatever its task."""

from __future__ import annotations

from dataclasses import dataclass

from edgeclf_runtime.metrics.intervals import Interval


@dataclass(frozen=True, slots=True)
class MainFigure:
    """Accuracy ("top-1") where images have one label each, mean average precision ("mAP") where they have several.

    A share 0..1, and its 95 % interval; None: there is nothing to divide by.
    """

    name: str
    value: float | None
    interval: Interval | None
