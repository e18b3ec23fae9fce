"""Energy of an inference, where the board tells its power."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Power:
    """Where the board tells it: mean watts above idle while inferring, and the energy of one image."""

    source: str
    idle_w: float
    mean_w: float
    mj_per_image: float
