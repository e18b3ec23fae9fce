"""The columns of a comparison, one literal table for the terminal, report.md and the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from edgeclf_benchmarks.comparing.compare import Entry
from edgeclf_benchmarks.measuring.timing import Latency
from edgeclf_benchmarks.page.html_tables import Table
from edgeclf_runtime.metrics.multilabel import MultiLabelEvaluation
from edgeclf_runtime.metrics.rounding import in_ms

NONE = "n/a"


@dataclass(frozen=True, slots=True)
class Column:
    """A heading, and the cell of an entry; `words`: no figure."""

    heading: str
    cell: Callable[[Entry], str]
    words: bool = False


def milliseconds(value: float | None, missing: str = NONE) -> str:
    """ "3.21 ms"."""
    return missing if value is None else f"{in_ms(value)} ms"


def median_ms(found: Latency | None, missing: str = NONE) -> str:
    """ "3.21 ms [3.18, 3.25]"."""
    interval = None if found is None else found.p50_interval_ms
    bounds = "" if interval is None else f" [{in_ms(interval.low)}, {in_ms(interval.high)}]"
    return missing if found is None else milliseconds(found.p50_ms) + bounds


def _p50(entry: Entry) -> str:
    return median_ms(entry.latency(), NONE if entry.proven else "not proven")


def _p90(entry: Entry) -> str:
    found = entry.latency()
    return NONE if found is None else milliseconds(found.p90_ms)


def _p99(entry: Entry) -> str:
    found = entry.latency()
    return NONE if found is None else milliseconds(found.p99_ms)


def _whole(entry: Entry) -> str:
    return median_ms(entry.latency("end_to_end"))


def _against(entry: Entry) -> str:
    if entry.is_reference:
        return "reference"
    found = entry.comparison()
    if found is None:
        return NONE
    return found.in_words


def _throughput(entry: Entry) -> str:
    return NONE if entry.images_per_s is None else f"{entry.images_per_s:.0f}"


def _main_figure(entry: Entry, name: str) -> str:
    """The figure of that name where it is the one that the row is known by."""
    found = None if entry.row.evaluation is None else entry.row.evaluation.main_figure
    if found is None or found.name != name or found.value is None:
        return NONE
    interval = found.interval
    return f"{found.value:.3f}" + (f" [{interval.low:.3f}, {interval.high:.3f}]" if interval else "")


def _macro_f1(entry: Entry) -> str:
    found = entry.row.evaluation
    return NONE if found is None or found.macro_f1 is None else f"{found.macro_f1:.3f}"


def _micro_f1(entry: Entry) -> str:
    found = entry.row.evaluation
    return f"{found.micro_f1:.3f}" if isinstance(found, MultiLabelEvaluation) else NONE


def _exact_match(entry: Entry) -> str:
    found = entry.row.evaluation
    return f"{found.exact_match:.3f}" if isinstance(found, MultiLabelEvaluation) else NONE


def _macro_auc(entry: Entry) -> str:
    found = entry.row.evaluation
    return NONE if found is None or found.macro_auc is None else f"{found.macro_auc:.4f}"


def _ece(entry: Entry) -> str:
    found = entry.row.evaluation
    value = found.macro_ece if isinstance(found, MultiLabelEvaluation) else None if found is None else found.ece
    return NONE if value is None else f"{value:.3f}"


def _thresholds(entry: Entry) -> str:
    return NONE if entry.row.decided is None else entry.row.decided.thresholds


def _unknown(entry: Entry) -> str:
    return NONE if entry.row.decided is None else f"{entry.row.decided.unknown:.1%}"


def _accuracy_on_known(entry: Entry) -> str:
    found = entry.row.decided
    return NONE if found is None or found.right is None else f"{found.right:.3f}"


def _target(entry: Entry) -> str:
    return "plain loop" if entry.row.kind == "plain-loop" else entry.row.target


def megabytes(entry: Entry) -> str:
    """Size of the bundle, decimal megabytes."""
    return NONE if entry.row.bundle_bytes is None else f"{entry.row.bundle_bytes / 1e6:.1f} MB"


def _precision(entry: Entry) -> str:
    weights, compute = entry.row.weights_precision, entry.row.compute_precision
    return weights if weights == compute else f"{weights}, computes in {compute}"


def _training(entry: Entry) -> str:
    seconds, images = entry.row.training_seconds, entry.row.training_images
    if seconds is None:
        return NONE
    return f"{seconds:.0f} s" + ("" if images is None else f", {images} images")


def _teacher(entry: Entry) -> str:
    return NONE if entry.row.teacher is None else str(entry.row.teacher)


def _memory(entry: Entry) -> str:
    return NONE if entry.row.peak_memory_mib is None else f"{entry.row.peak_memory_mib:.0f} MiB"


def _cold_start(entry: Entry) -> str:
    return NONE if entry.row.cold_start is None else f"{entry.row.cold_start.total_ms / 1000:.2f} s"


def _energy(entry: Entry) -> str:
    found = entry.row.power
    return NONE if found is None else f"{found.mj_per_image:.1f} mJ, {found.mean_w:.2f} W over idle ({found.source})"


def _parity(entry: Entry) -> str:
    return "reference" if entry.is_reference else entry.row.parity.verdict if entry.row.parity else NONE


def _change(entry: Entry, figure: str) -> str:
    found = entry.row.parity
    if found is None or found.figure != figure:
        return NONE
    interval = found.change_interval_points
    return f"{found.change_points:+.2f} points" + (f" [{interval.low:+.2f}, {interval.high:+.2f}]" if interval else "")


def _flips(entry: Entry) -> str:
    found = entry.row.parity
    if found is None:
        return NONE
    of = f"{found.images}" if found.decisions is None else f"{found.decisions} labels of {found.images} images"
    return f"{found.right_to_wrong} lost, {found.wrong_to_right} gained of {of}"


def _agreement(entry: Entry) -> str:
    return NONE if entry.row.parity is None else f"{entry.row.parity.agreement:.1%}"


def _worst(entry: Entry, figure: str) -> str:
    found = entry.row.parity
    if found is None or found.figure != figure:
        return NONE
    if found.worst_class is None or found.worst_class_change_points is None:
        return "none falls"
    return f"{found.worst_class} {found.worst_class_change_points:+.1f} points"


def _reason(entry: Entry) -> str:
    return NONE if entry.row.parity is None else entry.row.parity.reason


SPEED = (
    Column("infer p50 [95 %]", _p50),
    Column("p90", _p90),
    Column("p99", _p99),
    Column("end to end p50 [95 %]", _whole),
    Column("against the reference", _against),
    Column("images/s", _throughput),
)
ACCURACY = (
    Column("top-1 [95 %]", partial(_main_figure, name="top-1")),
    Column("mAP [95 %]", partial(_main_figure, name="mAP")),
    Column("macro-F1", _macro_f1),
    Column("micro-F1", _micro_f1),
    Column("exact match", _exact_match),
    Column("macro-AUC", _macro_auc),
    Column("ECE", _ece),
    Column("thresholds", _thresholds, words=True),
    Column("unknown", _unknown),
    Column("accuracy on the others", _accuracy_on_known),
    Column("training", _training),
    Column("teacher", _teacher, words=True),
)
COST = (
    Column("runs on", _target, words=True),
    Column("precision", _precision, words=True),
    Column("size", megabytes),
    Column("memory", _memory),
    Column("cold start", _cold_start),
    Column("energy an image", _energy),
)
PARITY = (
    Column("verdict", _parity, words=True),
    Column("Δtop-1 [95 %]", partial(_change, figure="top-1")),
    Column("ΔmAP [95 %]", partial(_change, figure="mAP")),
    Column("flips", _flips, words=True),
    Column("agreement", _agreement),
    Column("worst class", partial(_worst, figure="top-1"), words=True),
    Column("worst label", partial(_worst, figure="mAP"), words=True),
    Column("why", _reason, words=True),
)
_EVERY = (*SPEED, *ACCURACY, *COST, *PARITY)
_SHORT = (
    "infer p50 [95 %]",
    "p99",
    "images/s",
    "top-1 [95 %]",
    "mAP [95 %]",
    "Δtop-1 [95 %]",
    "ΔmAP [95 %]",
    "size",
    "teacher",
)
SHORT = tuple(each for each in _EVERY if each.heading in (*_SHORT, "verdict"))


def with_values(columns: Sequence[Column], entries: Sequence[Entry]) -> tuple[Column, ...]:
    """The columns that have a value for at least one entry."""
    return tuple(each for each in columns if any(each.cell(entry) != NONE for entry in entries))


def figures(caption: str, columns: Sequence[Column], entries: Sequence[Entry], chosen: Sequence[int]) -> Table | None:
    """The table of the entries with the numbers `chosen`; None where no column has a value for them."""
    some = tuple(entries[number - 1] for number in chosen)
    shown = with_values(columns, some)
    if not shown:
        return None
    return Table(
        caption,
        ("row", *(column.heading for column in shown)),
        tuple((entry.name, *(column.cell(entry) for column in shown)) for entry in some),
        words=tuple(column.heading for column in shown if column.words),
        marks=tuple(chosen),
    )
