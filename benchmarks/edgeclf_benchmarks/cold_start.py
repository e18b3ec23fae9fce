"""What a fresh process needs to its first answer, and the most memory it holds: one process a bundle."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ColdStart:
    """A fresh process to its first answer; medians of `runs` processes, disk cache warm.

    `process_ms` from the start of the process to Python's first line, `import_ms` the runtime and the engine's library,
    `load_ms` bundle and engine, `first_answer_ms` the first call. `total_ms` is the median of the sums.
    """

    runs: int
    process_ms: float
    import_ms: float
    load_ms: float
    first_answer_ms: float
    total_ms: float
    samples_ms: tuple[tuple[float, float, float, float], ...]
