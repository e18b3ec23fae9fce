"""The one figure that an evaluation is known by, whatever its task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from edgeclf_runtime.json_fields import named_by
from edgeclf_runtime.metrics.intervals import Interval

Figure = Literal["top-1", "mAP"]


def top1_or_map(name: str, decides: str = "figure") -> Mapping[str, Any]:
    """Metadata of a field that JSON calls `name`, with "top1" in it, or with "map" where `decides` says "mAP"."""
    return named_by(decides, {"top-1": name, "mAP": name.replace("top1", "map")})


@dataclass(frozen=True, slots=True)
class MainFigure:
    """Accuracy ("top-1") where images have one label each, mean average precision ("mAP") where they have several.

    A share 0..1, and its 95 % interval; None: there is nothing to divide by.
    """

    name: Figure
    value: float | None
    interval: Interval | None
