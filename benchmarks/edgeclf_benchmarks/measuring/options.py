"""The options of a bench: profiles, sweeps, sessions; checked when they are made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from edgeclf_benchmarks.measuring.corruptions import Name
from edgeclf_benchmarks.measuring.energy import Meter
from edgeclf_benchmarks.measuring.scenarios import RULED_S
from edgeclf_runtime.backends.engine import SessionOptions
from edgeclf_runtime.bundle.parity import MARGIN_POINTS
from edgeclf_runtime.capacity import usable_cores
from edgeclf_runtime.errors import UsageError

ProfileName = Literal["default", "quick", "mlperf"]


@dataclass(frozen=True, slots=True)
class Profile:
    """How much a profile measures. `target_s` is what all of it may take for three bundles; rounds get what is left."""

    rounds: int
    fresh_rounds: int
    target_s: float
    fewest_rounds_s: float
    warm_up_s: float
    cold_starts: int
    offline_s: float
    images: int
    corrupted_images: int


PROFILES: dict[ProfileName, Profile] = {
    "default": Profile(20, 5, 150, 50, 10, 3, 2.0, 1000, 200),
    "quick": Profile(10, 3, 40, 10, 2, 1, 0.5, 200, 50),
    "mlperf": Profile(20, 5, 150, 50, 10, 3, RULED_S, 1000, 200),
}


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """What to measure, equal for all rows.

    Attributes
    ----------
    rounds
        None: as many as the profile has.
    batch_sizes, threads
        Sweeps; rows are compared at the first of each. `threads` None: all cores.
    session
        Device, precision and hint; its threads are not used.
    plain_loop
        Whether a plain loop of PIL, torchvision and eager torch is a row, where a pytorch bundle is among the rows.
    duration_s
        Seconds of each scenario; None: what the profile has.
    thumbnails
        Whether the report holds small copies of images that only one of a row and the reference predicts correctly.
    corruptions, corrupted_images
        How images are corrupted to measure robustness, and how many of them; none: not measured. This takes time beyond
        the profile's.
    meter
        Measures the board's power; None: not available here.
    """

    profile: ProfileName = "default"
    rounds: int | None = None
    batch_sizes: tuple[int, ...] = (1,)
    threads: tuple[int, ...] | None = None
    session: SessionOptions = SessionOptions()
    plain_loop: bool = True
    margin_points: float = MARGIN_POINTS
    duration_s: float | None = None
    seed: int = 0
    thumbnails: bool = True
    corruptions: tuple[Name, ...] = ()
    corrupted_images: int | None = None
    meter: Meter | None = None

    def __post_init__(self) -> None:
        if self.profile not in PROFILES:
            raise UsageError(f"no profile {self.profile!r}; choose one of {', '.join(PROFILES)}")
        if not self.batch_sizes or min(self.batch_sizes) < 1 or max(self.batch_sizes) > 1024:
            raise UsageError(f"batch sizes lie in 1..1024, found {_listed(self.batch_sizes)}")
        if self.rounds is not None and self.rounds < 2:
            raise UsageError(f"an interval needs two rounds or more, found {self.rounds}")
        if not 0 < self.margin_points <= 100:
            raise UsageError(f"the margin is a number of points above 0 and up to 100, found {self.margin_points:g}")
        if self.corrupted_images is not None and not self.corruptions:
            raise UsageError("--corrupted-images has no effect alone; give --corruptions, too")
        if self.corrupted_images is not None and self.corrupted_images < 2:
            raise UsageError(f"an interval needs two corrupted images or more, found {self.corrupted_images}")
        for count in self.thread_counts:
            replace(self.session, threads=count)  # checks it

    @property
    def thread_counts(self) -> tuple[int, ...]:
        return self.threads or (usable_cores(),)

    @property
    def first(self) -> SessionOptions:
        """The session that rows are compared with."""
        return replace(self.session, threads=self.thread_counts[0])


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers)) or "none"
