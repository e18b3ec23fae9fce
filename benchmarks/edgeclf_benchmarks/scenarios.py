"""LoadGen's patterns: one query after the other, eight images a query, everything at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ScenarioName = Literal["single-stream", "multi-stream", "offline"]


@dataclass(frozen=True, slots=True)
class Scenario:
    """A row under one of LoadGen's patterns, pixels to logits.

    Attributes
    ----------
    latency_ms
        single-stream: the 90th percentile of a query of one image; multi-stream: the 99th of one of eight images;
        offline: None.
    images_per_s
        All images over all seconds.
    by_the_rules
        Whether it ran as long, and with as many queries, as MLPerf Inference asks; `note` says what was lacking.
    """

    name: ScenarioName
    batch: int
    threads: int
    queries: int
    images: int
    seconds: float
    latency_ms: float | None
    images_per_s: float
    by_the_rules: bool
    note: str = ""
