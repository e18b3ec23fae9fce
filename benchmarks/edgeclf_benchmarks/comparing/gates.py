"""--fail-if: what a report may not show. A gate fails only where the noise can't explain what was found.

With a figure that has an interval the whole interval must lie beyond the bound; a ratio must lie beyond what a bundle
shows against itself (the A/A floor), too. What no row can answer is an error: a gate that judges nothing lets all pass.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgeclf_benchmarks.comparing.changes import (
    Figure,
    flips,
    latency_change,
    rounds_of,
    same_hardware,
    top1_drop,
)
from edgeclf_benchmarks.comparing.compare import Entry
from edgeclf_benchmarks.measuring.report import Gate
from edgeclf_benchmarks.statistics.intervals import Interval
from edgeclf_runtime.errors import DataError, UsageError
from edgeclf_runtime.proof import Verdict

Find = Callable[[Entry, "Entry | None"], "Figure | None"]


@dataclass(frozen=True, slots=True)
class Quantity:
    """What a gate may ask for: its unit, where it is found, and what to do where it isn't (beside a baseline)."""

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


def _top1(entry: Entry, _: Entry | None) -> Figure | None:
    found = entry.row.evaluation
    return None if found is None else Figure(found.top1, found.top1_interval)


def _drop(entry: Entry, before: Entry | None) -> Figure | None:
    """Against the baseline where there is one, else against the report's reference row."""
    if before is not None:
        return top1_drop(entry, before)
    parity = entry.row.parity
    if parity is None:
        return None
    change = parity.top1_change_interval_points
    interval = None if change is None else Interval(0 - change.high, 0 - change.low, change.method)  # 0 -: no "-0"
    return Figure(0 - parity.top1_change_points, interval)


def _ratio(entry: Entry, before: Entry | None) -> Figure | None:
    if before is not None:
        return latency_change(entry, before) if same_hardware(entry.report.machine, before.report.machine) else None
    found = entry.comparison()
    return None if found is None else Figure(found.ratio, found.interval, found.floor, len(found.round_ratios))


def _throughput(entry: Entry, _: Entry | None) -> Figure | None:
    return None if entry.images_per_s is None else Figure(entry.images_per_s)


def _size(entry: Entry, _: Entry | None) -> Figure | None:
    return None if entry.row.bundle_bytes is None else Figure(entry.row.bundle_bytes / 1e6)


def _flips(entry: Entry, before: Entry | None) -> Figure | None:
    if before is not None:
        return flips(entry, before)
    parity = entry.row.parity
    return None if parity is None else Figure(float(parity.right_to_wrong + parity.wrong_to_right))


_MORE, _LABELLED = "more calls are needed: bench with more --rounds", "bench with --data"
_ALONE = f"nothing to compare with: {_LABELLED} and a reference, or give --baseline"
_UNANSWERED = "the report and the baseline do not both have answers to labelled images: bench both with --data"
_UNTIMED = "the report and the baseline do not both have latency on the same machine: bench both here"
NAMES: dict[str, Quantity] = {
    "p50_ms": Quantity(" ms", _p50, "no latency was measured"),
    "p90_ms": Quantity(" ms", _p90, f"n too small (64), {_MORE}"),
    "p99_ms": Quantity(" ms", _p99, f"n too small (662), {_MORE}"),
    "top1": Quantity("", _top1, _LABELLED),
    "top1_drop": Quantity(" points", _drop, _ALONE, _UNANSWERED),
    "p50_ratio": Quantity("", _ratio, "nothing to compare with: bench two bundles, or give --baseline", _UNTIMED),
    "images_per_s": Quantity(" images/s", _throughput, "throughput was not measured"),
    "bundle_mb": Quantity(" MB", _size, "its size is not known"),
    "flips": Quantity(" images", _flips, _ALONE, _UNANSWERED),
}
RELATIVE = ("top1_drop", "p50_ratio", "flips")  # to the baseline, or to the report's reference
_EXPRESSION = re.compile(r"\s*([a-z0-9_]+)\s*(>=|<=|>|<)\s*([-+]?\d+(?:\.\d*)?|[-+]?\.\d+)\s*")


@dataclass(frozen=True, slots=True)
class Rule:
    """One parsed --fail-if: a row fails where its figure lies on the `sign` side of the limit."""

    expression: str
    name: str
    sign: str
    limit: float

    def holds(self, value: float) -> bool:
        """Whether `value` is one to fail for."""
        limit = self.limit
        return {">": value > limit, ">=": value >= limit, "<": value < limit, "<=": value <= limit}[self.sign]


def parse_rule(text: str) -> Rule:
    """ "p50_ms>12" as a rule. Raises UsageError."""
    found = _EXPRESSION.fullmatch(text)
    if found is None:
        raise UsageError(f"--fail-if wants NAME>NUMBER such as p50_ms>12, found {text!r}; names: {', '.join(NAMES)}")
    name, sign, limit = found[1], found[2], float(found[3])
    if name not in NAMES:
        raise UsageError(f"--fail-if knows no {name!r}; choose one of {', '.join(NAMES)}")
    if name == "top1" and not 0 <= limit <= 1:
        raise UsageError(f"top1 is a share of 0 to 1, found {text!r}; 93 % is 0.93")
    return Rule(text.strip(), name, sign, limit)


def judge(rules: Sequence[Rule], entries: Sequence[Entry], baseline: Sequence[Entry] = ()) -> tuple[Gate, ...]:
    """Each rule for each entry. Raises DataError for a rule that no entry has a figure for."""
    gates = []
    for rule in rules:
        lines = [_gate(rule, entry, _partner(entry, baseline), bool(baseline)) for entry in entries]
        if all(each is None or (each.found is None and each.verdict != "fail") for each in lines):
            missing = NAMES[rule.name].why_missing(bool(baseline))
            raise DataError(f"no row can be judged by {rule.expression!r}: {missing}")
        gates += [each for each in lines if each is not None]
    return tuple(gates)


def _partner(entry: Entry, baseline: Sequence[Entry]) -> Entry | None:
    """The baseline's row of the same name."""
    return next((each for each in baseline if each.row.name == entry.row.name), None)


def _gate(rule: Rule, entry: Entry, before: Entry | None, has_baseline: bool) -> Gate | None:
    """None: a relative figure of the reference itself, which is nothing to judge."""
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
    unit, bounds = NAMES[rule.name].unit, ""
    if figure.interval is not None:
        bounds = f" [{figure.interval.low:.4g}, {figure.interval.high:.4g}]"
    return _line(rule, entry, figure.value, verdict, f"{figure.value:.4g}{unit}{bounds}{why}")


def _verdict(rule: Rule, figure: Figure) -> tuple[Verdict, str]:
    if not rule.holds(figure.value):
        return "pass", ""
    if figure.too_few_rounds:
        return "inconclusive", f": beyond the limit, but {figure.rounds} rounds are too few to tell"
    if figure.interval is not None and not (rule.holds(figure.interval.low) and rule.holds(figure.interval.high)):
        return "inconclusive", ": beyond the limit, but its interval is not"
    if rule.name == "p50_ratio" and figure.floor is not None and _within_floor(figure, figure.floor):
        return (
            "inconclusive",
            f": beyond the limit, but within what one bundle shows against itself ({figure.floor:.3f})",
        )
    return "fail", ""


def _within_floor(figure: Figure, floor: float) -> bool:
    low, high = (figure.interval.low, figure.interval.high) if figure.interval else (figure.value, figure.value)
    return low <= floor and high >= 1 / floor


def _line(rule: Rule, entry: Entry, found: float | None, verdict: Verdict, what: str) -> Gate:
    return Gate(rule.expression, entry.name, found, rule.limit, verdict, f"{rule.expression}: {entry.name}: {what}")
