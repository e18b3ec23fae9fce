"""Energy of an inference, where the board tells its power."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

Watts = Callable[[], float]  # what the board draws now
_EVERY_S, _IDLE_S = 0.05, 2.0


@dataclass(frozen=True, slots=True)
class Power:
    """Where the board tells it: mean watts above idle while inferring, and the energy of one image."""

    source: str
    idle_w: float
    mean_w: float
    mj_per_image: float


class Meter:
    """Samples `watts` in a thread of its own; the mean while nothing runs is taken as idle when it is made."""

    def __init__(self, source: str, watts: Watts, *, idle_s: float = _IDLE_S) -> None:
        self.source = source
        self._watts = watts
        self.idle_w = self._mean(lambda: time.sleep(idle_s))

    def measure(self, work: Callable[[], int]) -> Power:
        """The power while `work` runs, which returns how many images it answered."""
        start, images = time.perf_counter(), 0

        def counted() -> None:
            nonlocal images
            images = work()

        above = self._mean(counted) - self.idle_w
        seconds = time.perf_counter() - start
        return Power(self.source, self.idle_w, above, 1000 * above * seconds / images)

    def _mean(self, work: Callable[[], None]) -> float:
        samples, done = [self._watts()], threading.Event()

        def sample() -> None:
            while not done.wait(_EVERY_S):
                samples.append(self._watts())

        sampler = threading.Thread(target=sample, name="edgeclf-power", daemon=True)
        sampler.start()
        try:
            work()
        finally:
            done.set()
            sampler.join()
        return sum(samples) / len(samples)
