"""A row against the same row of an older report on the same images, in pairs; and the figure that a gate evaluates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeclf_benchmarks.comparing.columns import NONE, milliseconds
from edgeclf_benchmarks.comparing.compare import Compared, Entry, Finding, Source, entries_of
from edgeclf_benchmarks.comparing.latency_change import LatencyChange, Times, latency_change, same_hardware
from edgeclf_benchmarks.measuring.report import Data
from edgeclf_benchmarks.measuring.report_rows import Row
from edgeclf_benchmarks.measuring.speed import FEWEST_ROUNDS
from edgeclf_benchmarks.page.html_tables import Table
from edgeclf_runtime.bundle.parity import Parity, bounds_of_change
from edgeclf_runtime.metrics.intervals import Interval, Resampling, number_groups
from edgeclf_runtime.metrics.paired import TWO_BOUNDS, change_bounds
from edgeclf_runtime.metrics.paired_labels import map_change
from edgeclf_runtime.metrics.rounding import significant


@dataclass(frozen=True, slots=True)
class Figure:
    """The figure that a gate evaluates: a number, and its uncertainty.

    Attributes
    ----------
    interval
        95 %, where there is one.
    noise
        Of a ratio: up to which it is A/A noise (above 1).
    rounds
        In how many it was timed; None: it is not a time.
    images
        On how many it was evaluated; None: on none.
    how
        How it was computed, where there are several ways.
    undecidable
        Why no verdict may be based on it; "": one may.
    remark
        What else to print about it.
    """

    value: float
    interval: Interval | None = None
    noise: float | None = None
    rounds: int | None = None
    images: int | None = None
    how: str = ""
    undecidable: str = ""
    remark: str = ""

    @property
    def too_few_rounds(self) -> bool:
        """Whether the interval of a time is too narrow to call a difference one."""
        return self.rounds is not None and self.rounds < FEWEST_ROUNDS

    @property
    def spelled(self) -> str:
        """ "1.148 [1.121, 1.173]", without its unit."""
        ends = () if self.interval is None else (self.interval.low, self.interval.high)
        bounds = f" [{', '.join(significant(end, 4) for end in ends)}]" if ends else ""
        return f"{significant(self.value, 4)}{bounds}"


def top1_drop(now: Entry, before: Entry) -> Figure | None:
    """Points of top-1 lost since `before` on the same images, with both one-sided 95 % bounds."""
    found = _correctness(now, before)
    if found is None or now.report.data is None:
        return None
    mine, other = found
    groups = number_groups([image.group for image in now.report.data.images])
    lower, upper, _ = bounds_of_change(mine, other, Resampling(len(mine), groups))
    lost = 100 * (float(other.mean()) - float(mine.mean()))
    return Figure(lost, Interval(0 - 100 * upper, 0 - 100 * lower, TWO_BOUNDS), images=len(mine))


def parity_drop(parity: Parity) -> Interval:
    """Both one-sided 95 % bounds of the points of top-1 lost, as the verdict on parity has them."""
    lower, upper = parity.lower_bound_points, parity.upper_bound_points
    if upper is None:  # a report of an earlier version
        _, upper = (100 * each for each in change_bounds(parity.right_to_wrong, parity.wrong_to_right, parity.images))
    return Interval(0 - upper, 0 - lower, TWO_BOUNDS)


def map_drop(now: Entry, before: Entry) -> Figure | None:
    """Points of mAP lost since `before` on the same images, as `top1_drop` has those of top-1."""
    data = now.report.data
    if data is None or before.report.data is None:
        return None
    mine, other = (None if each.row.answers is None else each.row.answers.logits for each in (now, before))
    if mine is None or other is None:
        return None
    groups = number_groups([image.group for image in data.images])
    resampling = Resampling(len(data.images), groups)
    found = map_change(np.array(mine), np.array(other), _labels(data), resampling)
    bounds = Interval(0 - 100 * found.upper, 0 - 100 * found.lower, TWO_BOUNDS)
    return Figure(0 - 100 * found.change, bounds, remark=f"{len(data.images)} images")


def flips(now: Entry, before: Entry) -> Figure | None:
    """Images whose correctness changed since `before`, or labels of images where they may have several."""
    data = now.report.data
    if data is None or before.report.data is None:
        return None
    mine, other = (_right(each.row, data) for each in (now, before))
    return None if mine is None or other is None else Figure(float((mine != other).sum()), images=len(mine))


def right_predictions(row: Row, data: Data) -> NDArray[np.intp] | None:
    """(N,) how many predictions of a row are right for each image: one, or one a label; None: it has none."""
    found = _right(row, data)
    return None if found is None else np.asarray(found.reshape(len(found), -1).sum(axis=1))


def _right(row: Row, data: Data) -> NDArray[np.bool_] | None:
    """(N,) or (N, labels) where a row's predictions are right."""
    if row.answers is None:
        return None
    if row.answers.labels is None:
        return np.asarray(np.array(row.answers.numbers) == np.array([image.number for image in data.images]))
    predicted = np.zeros((len(data.images), len(data.classes)), dtype=np.bool_)
    for place, numbers in enumerate(row.answers.labels):
        predicted[place, list(numbers)] = True
    return np.asarray(predicted == _labels(data))


def _labels(data: Data) -> NDArray[np.bool_]:
    """(N, labels) which labels the images have."""
    found = np.zeros((len(data.images), len(data.classes)), dtype=np.bool_)
    for place, image in enumerate(data.images):
        found[place, list(image.labels or ())] = True
    return found


def _correctness(now: Entry, before: Entry) -> tuple[NDArray[np.bool_], NDArray[np.bool_]] | None:
    """(N,) and (N,) which of the same images are predicted correctly; None where one report has no predictions.

    None, too, where images may have several labels.
    """
    data = now.report.data
    if data is None or before.report.data is None or now.row.multi_label:
        return None
    mine, other = _right(now.row, data), _right(before.row, data)
    return None if mine is None or other is None else (mine, other)


_CLOCK, _YARDSTICK = "now ÷ before [95 %]", "by the yardstick [95 %]"


def since_baseline(compared: Compared) -> Table | None:
    """Each row beside the baseline's row of the same name; None without a baseline."""
    if compared.baseline is None:
        return None
    entries, older = entries_of(compared.sources), entries_of((compared.baseline,))
    before = {entry.row.name: entry for entry in older}
    known = [(number, entry) for number, entry in enumerate(entries, 1) if entry.row.name in before]
    pairs = [(number, entry, before[entry.row.name]) for number, entry in known]
    here = [each for each in pairs if same_hardware(each[1].report.machine, each[2].report.machine)]
    pairs = here or pairs  # predictions can be compared between machines, latencies not
    return Table(
        f"Each row and the row of that name in {compared.baseline.file}",
        ("row", "p50 before", "p50 now", _CLOCK, _YARDSTICK, "latency", f"Δ{_figure_of(entries)} [95 %]", "flips"),
        tuple((entry.name, *_cells(entry, old)) for _, entry, old in pairs),
        words=("latency",),
        marks=tuple(number for number, _, _ in pairs),
    )


def _figure_of(entries: Sequence[Entry]) -> str:
    return "mAP" if any(entry.row.multi_label for entry in entries) else "top-1"


def _cells(entry: Entry, old: Entry) -> Iterator[str]:
    here = same_hardware(entry.report.machine, old.report.machine)
    mine, other = entry.latency(), old.latency()
    yield milliseconds(other.p50_ms if here and other is not None else None)
    yield milliseconds(None if mine is None else mine.p50_ms)
    change = latency_change(entry, old) if here else None
    yield NONE if change is None else _times(change.clock)
    yield NONE if change is None or change.proportion is None else _times(change.proportion)
    yield _speed(change) if here else "another machine"
    drop = (map_drop if entry.row.multi_label else top1_drop)(entry, old)
    yield NONE if drop is None else f"{0 - drop.value:+.2f} points{_of_change(drop.interval)}"
    flipped = flips(entry, old)
    yield NONE if flipped is None else f"{flipped.value:.0f}"


def _times(found: Times) -> str:
    interval = found.interval
    return f"{found.value:.3f}" + ("" if interval is None else f" [{interval.low:.3f}, {interval.high:.3f}]")


def _of_change(interval: Interval | None) -> str:
    """The interval of a loss as that of a change, in brackets."""
    return "" if interval is None else f" [{0 - interval.high:+.2f}, {0 - interval.low:+.2f}]"


def _speed(change: LatencyChange | None) -> str:
    return NONE if change is None or change.clock.interval is None else change.speed


def incomparable(entries: Sequence[Entry], baseline: Source | None) -> Iterator[Finding]:
    """Why latencies can't be compared with the baseline's, each reason once."""
    if baseline is None:
        return
    older = {entry.row.name: entry for entry in entries_of((baseline,))}
    changes = [latency_change(entry, older[entry.row.name]) for entry in entries if entry.row.name in older]
    for why in dict.fromkeys(each.incomparable for each in changes if each is not None and each.incomparable):
        yield Finding("note", f"Latency can't be compared with {baseline.file}: {why}.")


def unpaired(entries: Sequence[Entry], baseline: Source | None) -> Iterator[Finding]:
    """Rows that came or went since the baseline: their change is unknown."""
    if baseline is None:
        return
    now, before = {entry.row.name for entry in entries}, [row.name for row in baseline.report.rows]
    if gone := [name for name in before if name not in now]:
        yield Finding("note", f"Only in the baseline {baseline.file}, so not measured again: {', '.join(gone)}.")
    if new := sorted(now - set(before)):
        yield Finding("note", f"Not in the baseline {baseline.file}, so nothing to compare with: {', '.join(new)}.")
