"""--fail-if: limits that a report must keep. A gate passes or fails only where noise can't explain the value.

A figure that has an interval passes where the whole interval keeps the limit, and fails where the whole interval lies
beyond it; a ratio of times must lie beyond it by more than A/A noise, too. All else is inconclusive. Across reports
the yardstick decides, and where machine, settings or load differ the verdict is inconclusive. A figure that no row has
is an error: a gate without values would always pass.

Gates apply to the bundles that a report is about: see `Entry.is_candidate`. A row's name before a gate selects any row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from edgeclf_benchmarks.comparing.compare import Entry
from edgeclf_benchmarks.comparing.latency_change import Times, latency_change, rounds_of
from edgeclf_benchmarks.comparing.regression import Figure, flips, map_drop, parity_drop, top1_drop
from edgeclf_benchmarks.measuring.report import Gate
from edgeclf_benchmarks.measuring.speed import speed_of
from edgeclf_runtime.errors import DataError, UsageError
from edgeclf_runtime.metrics.paired import on_images
from edgeclf_runtime.metrics.rounding import significant
from edgeclf_runtime.metrics.verdict import Verdict

Find = Callable[[Entry, "Entry | None"], "Figure | None"]


@dataclass(frozen=True, slots=True)
class Quantity:
    """A figure that a gate can limit: its unit, how to find it, what to do where it is missing (with a baseline)."""

    unit: str
    find: Find
    lacking: str
    lacking_since: str = ""

    def why_missing(self, has_baseline: bool) -> str:
        return self.lacking_since if has_baseline and self.lacking_since else self.lacking


def _p50(entry: Entry, _: Entry | None) -> Figure | None:
    found = entry.latency()
    return None if found is None else Figure(found.p50_ms, found.p50_interval_ms, rounds=rounds_of(found))


def _p90(entry: Entry, _: Entry | None) -> Figure | None:
    found = entry.latency()
    return None if found is None or found.p90_ms is None else Figure(found.p90_ms)


def _p99(entry: Entry, _: Entry | None) -> Figure | None:
    found = entry.latency()
    return None if found is None or found.p99_ms is None else Figure(found.p99_ms)


def _main_figure(entry: Entry, _: Entry | None, *, name: str) -> Figure | None:
    """Top-1 or mAP, where it is what the row is known by."""
    evaluation = entry.row.evaluation
    found = None if evaluation is None else evaluation.main_figure
    if evaluation is None or found is None or found.name != name or found.value is None:
        return None
    if name == "mAP":  # no single prediction is worth a fixed part of it
        return Figure(found.value, found.interval, remark=f"{evaluation.images} images")
    return Figure(found.value, found.interval, images=evaluation.images)


def _drop(entry: Entry, before: Entry | None, *, name: str) -> Figure | None:
    """Against the baseline where there is one, else against the report's reference row."""
    if before is not None:
        return (top1_drop if name == "top-1" else map_drop)(entry, before)
    parity = entry.row.parity
    if parity is None or parity.figure != name:
        return None
    drop = 0 - parity.change_points  # 0 -: no "-0"
    if parity.same_logits:
        return Figure(drop, images=parity.images, remark="its logits are the reference's")
    if name == "mAP":
        return Figure(drop, parity_drop(parity), remark=f"{parity.images} images")
    return Figure(drop, parity_drop(parity), images=parity.images)


def _ratio(entry: Entry, before: Entry | None) -> Figure | None:
    if before is not None:
        return _ratio_to_baseline(entry, before)
    found = entry.comparison()
    if found is None:
        return None
    return Figure(found.ratio, found.interval, found.floor, len(found.round_ratios), remark=found.verdict)


def _ratio_to_baseline(entry: Entry, before: Entry) -> Figure | None:
    """In proportion to the yardstick, the clock only printed beside it; without a yardstick by the clock alone."""
    change = latency_change(entry, before)
    if change is None:
        return None
    why, word = change.incomparable, "" if change.incomparable else change.speed
    if change.proportion is None:
        how = "by the clock alone (no yardstick in common)"
        return _figure(change.clock, how, undecidable=why, remark=word)
    how = f"by the yardstick {change.yardstick}, {significant(change.clock.value, 4)} by the clock"
    return _figure(change.proportion, how, undecidable=why, remark=word)


def _figure(times: Times, how: str, *, undecidable: str, remark: str) -> Figure:
    return Figure(
        times.value, times.interval, times.noise, times.rounds, how=how, undecidable=undecidable, remark=remark
    )


def _throughput(entry: Entry, _: Entry | None) -> Figure | None:
    return None if entry.images_per_s is None else Figure(entry.images_per_s)


def _size(entry: Entry, _: Entry | None) -> Figure | None:
    return None if entry.row.bundle_bytes is None else Figure(entry.row.bundle_bytes / 1e6)


def _flips(entry: Entry, before: Entry | None) -> Figure | None:
    if before is not None:
        return flips(entry, before)
    parity = entry.row.parity
    if parity is None:
        return None
    return Figure(float(parity.right_to_wrong + parity.wrong_to_right), images=parity.images)


_MORE, _LABELLED = "more calls are needed: bench with more --rounds", "bench with --data"
_ALONE = f"nothing to compare with: {_LABELLED} and a reference, or give --baseline"
_NO_PREDICTIONS = "the report and the baseline do not both have predictions for labelled images: bench both with --data"
_NO_LATENCY = "the report and the baseline do not both have latency"
NAMES: dict[str, Quantity] = {
    "p50_ms": Quantity(" ms", _p50, "no latency was measured"),
    "p90_ms": Quantity(" ms", _p90, f"n too small (64), {_MORE}"),
    "p99_ms": Quantity(" ms", _p99, f"n too small (662), {_MORE}"),
    "top1": Quantity("", partial(_main_figure, name="top-1"), f"{_LABELLED} of one label an image"),
    "top1_drop": Quantity(" points", partial(_drop, name="top-1"), _ALONE, _NO_PREDICTIONS),
    "map": Quantity("", partial(_main_figure, name="mAP"), f"{_LABELLED} of several labels an image"),
    "map_drop": Quantity(" points", partial(_drop, name="mAP"), _ALONE, _NO_PREDICTIONS),
    "p50_ratio": Quantity("", _ratio, "nothing to compare with: bench two bundles, or give --baseline", _NO_LATENCY),
    "images_per_s": Quantity(" images/s", _throughput, "throughput was not measured"),
    "bundle_mb": Quantity(" MB", _size, "its size is not known"),
    "flips": Quantity(" images", _flips, _ALONE, _NO_PREDICTIONS),
}
RELATIVE = ("top1_drop", "map_drop", "p50_ratio", "flips")  # to the baseline, or to the report's reference
_EXPRESSION = re.compile(r"(?:(.+):)?\s*([a-z0-9_]+)\s*(>=|<=|>|<)\s*([-+]?\d+(?:\.\d*)?|[-+]?\.\d+)\s*")


@dataclass(frozen=True, slots=True)
class Rule:
    """One parsed --fail-if: a row fails where its figure lies on the `sign` side of the limit.

    `row` picks the row of that name, of whichever report, or of one ("NAME @ MACHINE"); None: every candidate.
    """

    expression: str
    name: str
    sign: str
    limit: float
    row: str | None = None

    def picks(self, entry: Entry) -> bool:
        return entry.is_candidate if self.row is None else self.row in (entry.name, entry.row.name)

    def holds(self, value: float) -> bool:
        """Whether the gate fails for `value`."""
        limit = self.limit
        return {">": value > limit, ">=": value >= limit, "<": value < limit, "<=": value <= limit}[self.sign]


def parse_rule(text: str) -> Rule:
    """ "p50_ms>12", or "cats-onnx-fp32: p50_ms>12" for one row, as a rule. Raises UsageError."""
    found = _EXPRESSION.fullmatch(text)
    if found is None:
        raise UsageError(
            f"--fail-if wants FIGURE>NUMBER such as p50_ms>12, or NAME: before it for the row of one bundle, found "
            f"{text!r}; figures: {', '.join(NAMES)}"
        )
    row, name, sign, limit = found[1], found[2], found[3], float(found[4])
    if name not in NAMES:
        raise UsageError(f"--fail-if knows no {name!r}; choose one of {', '.join(NAMES)}")
    if name in ("top1", "map") and not 0 <= limit <= 1:
        raise UsageError(f"{name} is a share of 0 to 1, found {text!r}; 93 % is 0.93")
    return Rule(text.strip(), name, sign, limit, row and row.strip())


def check_names(rules: Sequence[Rule], names: Sequence[str]) -> None:
    """Raises UsageError for a rule that names a row that does not exist."""
    for rule in rules:
        if rule.row is not None and rule.row not in names:
            raise UsageError(f"{rule.expression!r} names no row; the rows are {', '.join(dict.fromkeys(names))}")


def without_gate(rules: Sequence[Rule], entries: Sequence[Entry]) -> list[str]:
    """Rows that no gate applies to, each with the reason; [] where every rule names its row."""
    if all(rule.row is not None for rule in rules):
        return []
    missed = [each for each in entries if not each.is_candidate and not any(rule.picks(each) for rule in rules)]
    return [f"{each.name} ({'the reference' if each.row.kind == 'bundle' else 'no bundle'})" for each in missed]


def check_gates(rules: Sequence[Rule], entries: Sequence[Entry], baseline: Sequence[Entry] = ()) -> tuple[Gate, ...]:
    """Each rule for each entry that it picks.

    Raises UsageError for a rule that picks none, and DataError for one that no entry has a figure for.
    """
    check_names(rules, [name for entry in entries for name in (entry.row.name, entry.name)])
    gates = []
    for rule in rules:
        picked = [entry for entry in entries if rule.picks(entry)]
        lines = [_gate(rule, entry, _partner(entry, baseline), bool(baseline)) for entry in picked]
        if all(each is None or (each.found is None and each.verdict != "fail") for each in lines):
            missing = NAMES[rule.name].why_missing(bool(baseline))
            raise DataError(f"no row can be evaluated by {rule.expression!r}: {missing}")
        gates += [each for each in lines if each is not None]
    return tuple(gates)


def _partner(entry: Entry, baseline: Sequence[Entry]) -> Entry | None:
    """The baseline's row of the same name."""
    return next((each for each in baseline if each.row.name == entry.row.name), None)


def _gate(rule: Rule, entry: Entry, before: Entry | None, has_baseline: bool) -> Gate | None:
    """None: a relative figure of the reference itself, which is not evaluated."""
    if not entry.proven:
        return _line(rule, entry, None, "fail", "not proven on its machine, so not measured")
    if rule.name in RELATIVE and has_baseline and before is None:
        return _line(rule, entry, None, "inconclusive", "not in the baseline")
    if rule.name in RELATIVE and not has_baseline and entry.is_reference:
        return None
    figure = NAMES[rule.name].find(entry, before)
    if figure is None:
        return _line(rule, entry, None, "inconclusive", NAMES[rule.name].why_missing(has_baseline))
    verdict, why = _verdict(rule, figure)
    return _line(rule, entry, figure.value, verdict, _spelled(figure, NAMES[rule.name].unit) + why)


def _spelled(figure: Figure, unit: str) -> str:
    """The value with its unit, interval, number of images and remark."""
    found = figure.spelled.replace(" ", f"{unit} ", 1) if figure.interval else f"{figure.spelled}{unit}"
    parts = [f"{found} {figure.how}".rstrip()]
    if figure.images is not None:
        parts.append(on_images(figure.images))
    if figure.remark:
        parts.append(figure.remark)
    return ", ".join(parts)


def _verdict(rule: Rule, figure: Figure) -> tuple[Verdict, str]:
    if figure.undecidable:
        return "inconclusive", f": {figure.undecidable}"
    interval, beyond = figure.interval, rule.holds(figure.value)
    side = "beyond" if beyond else "within"
    ends = [] if interval is None else [rule.holds(interval.low), rule.holds(interval.high)]
    if any(end != beyond for end in ends):
        return "inconclusive", f": {side} the limit, but its interval is not"
    if figure.too_few_rounds:
        return "inconclusive", f": {side} the limit, but {figure.rounds} rounds are too few"
    if not beyond:
        return "pass", ""
    if figure.noise is None or interval is None or figure.rounds is None:
        return "fail", ""
    if speed_of(figure.value, interval, figure.rounds, figure.noise, rule.limit) == "no difference shown":
        return "inconclusive", f": beyond the limit, but not by more than A/A noise ({figure.noise:.3f})"
    return "fail", ""


def _line(rule: Rule, entry: Entry, found: float | None, verdict: Verdict, what: str) -> Gate:
    return Gate(rule.expression, entry.name, found, rule.limit, verdict, f"{rule.expression}: {entry.name}: {what}")
