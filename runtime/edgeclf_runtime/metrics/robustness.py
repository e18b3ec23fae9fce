"""How good predictions are on corrupted images: top-1 or mAP at each corruption and level, against the reference's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from edgeclf_runtime.json_fields import LATER
from edgeclf_runtime.metrics.intervals import Interval, Resampling, accuracy_interval, mean_of
from edgeclf_runtime.metrics.main_figure import Figure, top1_or_map
from edgeclf_runtime.metrics.paired import TWO_BOUNDS, change_bounds, change_verdict, in_points
from edgeclf_runtime.metrics.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Corrupted:
    """Predictions for images that were all corrupted in one way at one level (1 mild, 2, 3 strong).

    Attributes
    ----------
    value
        Top-1, or mAP where images may have several labels (`figure`), with its 95 % interval.
    lost_from_clean
        Images, or labels of images, that are predicted rightly as they are, and wrongly when corrupted.
    agreement
        Share of predictions (of labels) equal to the reference row's on the same corrupted images; None: it is the
        reference.
    change_points
        This row's `value` minus the reference's, on the same corrupted images, with the 95 % interval of a paired
        bootstrap (None where no draw changed). None for the reference.
    """

    name: str
    level: int
    value: float = field(metadata=top1_or_map("top1"))
    interval: Interval | None = field(metadata=top1_or_map("top1_interval"))
    lost_from_clean: int
    agreement: float | None = None
    change_points: float | None = field(default=None, metadata=top1_or_map("top1_change_points"))
    change_interval_points: Interval | None = field(default=None, metadata=top1_or_map("top1_change_interval_points"))
    figure: Figure = field(default="top-1", metadata=LATER)


@dataclass(frozen=True, slots=True)
class Robustness:
    """A row on `images` images, corrupted in all ways and levels of `entries`; `clean_…` is on the same as they are.

    Attributes
    ----------
    mean_value
        Mean of the entries' values, with the interval of a bootstrap over images.
    mean_change_points
        That mean minus the reference's, with a paired interval. Means over many corrupted copies show smaller changes
        than one entry does. None for the reference, as all that follows.
    lower_bound_points
        One-sided 95 % lower bound of that change.
    verdict
        Non-inferiority on corrupted images, by the margin of the clean ones. "fail" beside a parity of "pass" is
        what this measurement is for.
    figure
        What the values are: "top-1", or "mAP" where images may have several labels.
    """

    images: int
    clean_value: float = field(metadata=top1_or_map("clean_top1"))
    clean_change_points: float | None
    mean_value: float = field(metadata=top1_or_map("mean_top1"))
    mean_interval: Interval | None = field(metadata=top1_or_map("mean_top1_interval"))
    mean_change_points: float | None
    mean_change_interval_points: Interval | None
    lower_bound_points: float | None
    margin_points: float
    verdict: Verdict | None
    reason: str
    entries: tuple[Corrupted, ...]
    figure: Figure = field(default="top-1", metadata=LATER)

    @property
    def worst(self) -> Corrupted | None:
        """The entry that falls farthest below the reference; None where none does."""
        fallen = [each for each in self.entries if (each.change_points or 0) < 0]
        return min(fallen, key=lambda each: each.change_points or 0, default=None)


@dataclass(frozen=True, slots=True)
class Numbers:
    """One row's predictions: `clean` (N,) and `corrupted` (ways, N), classes as numbers."""

    clean: NDArray[np.intp]
    corrupted: NDArray[np.intp]


def robustness_of(
    ways: Sequence[tuple[str, int]],
    row: Numbers,
    reference: Numbers | None,
    labels: NDArray[np.intp],
    resampling: Resampling,
    *,
    margin_points: float,
) -> Robustness:
    """A row's predictions on corrupted images, evaluated; `ways`: corruption and level, `reference` None for itself."""
    clean, right = row.clean == labels, row.corrupted == labels
    wanted = None if reference is None else reference.corrupted == labels
    entries = []
    for place, (name, level) in enumerate(ways):
        entry = Corrupted(
            name=name,
            level=level,
            value=float(right[place].mean()),
            interval=accuracy_interval(right[place], resampling),
            lost_from_clean=int((clean & ~right[place]).sum()),
        )
        if reference is not None and wanted is not None:
            same = row.corrupted[place] == reference.corrupted[place]
            entry = _against(entry, same, right[place], wanted[place], resampling)
        entries.append(entry)
    share = right.mean(axis=0)
    change = None if wanted is None else 100 * (share - wanted.mean(axis=0))
    drawn = None if change is None else resampling.draws(mean_of(change))
    lower, verdict, reason = change_when_corrupted("top-1", drawn, resampling, margin_points)
    return Robustness(
        images=len(labels),
        clean_value=float(clean.mean()),
        clean_change_points=None
        if reference is None
        else 100 * (float(clean.mean()) - float((reference.clean == labels).mean())),
        mean_value=float(share.mean()),
        mean_interval=resampling.interval(mean_of(share)),
        mean_change_points=None if change is None else float(change.mean()),
        mean_change_interval_points=None if change is None else resampling.interval(mean_of(change)),
        lower_bound_points=lower,
        margin_points=margin_points,
        verdict=verdict,
        reason=reason,
        entries=tuple(entries),
    )


def _against(
    entry: Corrupted,
    same: NDArray[np.bool_],
    right: NDArray[np.bool_],
    wanted: NDArray[np.bool_],
    resampling: Resampling,
) -> Corrupted:
    change = 100 * (right.astype(np.float64) - wanted)
    return replace(
        entry,
        agreement=float(same.mean()),
        change_points=float(change.mean()),
        change_interval_points=resampling.interval(mean_of(change)),
    )


def change_when_corrupted(
    figure: Figure, drawn: NDArray[np.float64] | None, resampling: Resampling, margin: float
) -> tuple[float | None, Verdict | None, str]:
    """One-sided bound of the mean change, whether it is within the margin, and why; None for the reference.

    `drawn` (draws,): what the change in points comes to in each draw.
    """
    if drawn is None:
        return None, None, ""
    lower, upper = (float(bound) for bound in np.percentile(drawn, [5, 95]))
    if drawn.min() == drawn.max():  # nothing changed in any draw: as sure as one copy of each image can make it
        lower, upper = (100 * bound for bound in change_bounds(0, 0, resampling.units))
    verdict = change_verdict(lower, upper, margin)
    what, number = f"{figure} on corrupted images", f"{resampling.images} images"
    if verdict == "pass":
        worst = f"at worst {lower:+.2f} (one-sided 95 %; {number})"
        return lower, verdict, f"{what} falls by less than {in_points(margin)}: {worst}"
    if verdict == "fail":
        best = f"at best {upper:+.2f} (one-sided 95 %; {number})"
        return lower, verdict, f"{what} falls by more than {in_points(margin)}: {best}"
    bounds = f"{lower:+.2f} to {upper:+.2f} points ({TWO_BOUNDS}; {number})"
    return lower, verdict, f"{what} changes by {bounds}, the margin is {margin:g}"
