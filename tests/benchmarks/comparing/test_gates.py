"""Gates fail for what is beyond noise, and for nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
from made_reports import made_report

from edgeclf_benchmarks.comparing.compare import Entry, Source, entries_of
from edgeclf_benchmarks.comparing.gates import check_gates, parse_rule, without_gate
from edgeclf_benchmarks.measuring.report import Gate, Report
from edgeclf_benchmarks.measuring.timing import summarise
from edgeclf_runtime.bundle.proof import Comparison
from edgeclf_runtime.errors import DataError, UsageError

ROWS = {"torch": (12.0, 40), "onnx": (5.0, 40)}


def _entries(report: Report) -> tuple[Entry, ...]:
    return entries_of([Source("a.json", "0", report)])


def _gate(rule: str, report: Report, baseline: Report | None = None, row: str = "onnx") -> Gate:
    older = () if baseline is None else _entries(baseline)
    gates = check_gates([parse_rule(rule)], _entries(report), older)
    return next(gate for gate in gates if gate.row == row)


def _verdict(rule: str, report: Report, baseline: Report | None = None, row: str = "onnx") -> str:
    return _gate(rule, report, baseline, row).verdict


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("p50_ms>4", "fail"),
        ("p50_ms>6", "pass"),
        ("p90_ms>4", "fail"),
        ("p90_ms > 9", "pass"),
        ("top1<0.99", "fail"),
        ("top1<0.5", "pass"),
        ("top1<0.94", "inconclusive"),
        ("bundle_mb>9", "fail"),
        ("bundle_mb>11", "pass"),
        ("flips>0", "pass"),
        ("p50_ratio>0.3", "fail"),
        ("p50_ratio>0.9", "pass"),
    ],
)
def test_each_gate_passes_fails_or_is_inconclusive_within_noise(rule: str, expected: str) -> None:
    assert _verdict(rule, made_report(ROWS)) == expected


def test_a_slowdown_of_15_percent_is_caught() -> None:
    slower = made_report({"torch": (12.0, 40), "onnx": (5.75, 40)}, seed=9)
    assert _verdict("p50_ratio>1.05", slower, made_report(ROWS)) == "fail"


@pytest.mark.parametrize("seed", [*range(4), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(4, 20))])
def test_a_repeat_without_a_change_fails_no_gate(seed: int) -> None:
    repeat, before = made_report(ROWS, seed=100 + 7 * seed), made_report(ROWS)
    for rule in ("p50_ratio>1", "top1_drop>0", "flips>0"):
        assert _verdict(rule, repeat, before) != "fail"


def test_a_ratio_within_a_a_noise_does_not_fail() -> None:
    slower = made_report({"torch": (12.0, 40), "onnx": (5.75, 40)}, seed=9, aa_noise=1.3)
    assert _verdict("p50_ratio>1.05", slower, made_report(ROWS)) == "inconclusive"


@pytest.mark.parametrize("rule", ["p50_ms>4", "p50_ratio>1.05"])
def test_times_of_too_few_rounds_fail_no_gate(rule: str) -> None:
    slow = made_report({"torch": (12.0, 40), "onnx": (7.0, 40)}, seed=9)
    assert _verdict(rule, slow, made_report(ROWS)) == "fail"
    assert _verdict(rule, _cut(slow, rounds=3), made_report(ROWS)) == "inconclusive"
    assert _verdict(rule, _cut(slow, rounds=1), made_report(ROWS)) == "inconclusive"


def _cut(report: Report, rounds: int) -> Report:
    """As if it had been interrupted after so many rounds."""
    rows = []
    for row in report.rows:
        cut = [
            summarise(each.stage, 1, 2, each.rounds_ms[:rounds], each.started_s[:rounds], None)
            for each in row.latencies
        ]
        rows.append(replace(row, latencies=tuple(cut)))
    return replace(report, rows=tuple(rows))


def test_one_point_of_top1_lost_on_the_same_images_is_caught() -> None:
    before = made_report(ROWS, images=3000)
    after = made_report({"torch": (12.0, 40), "onnx": (5.0, 75)}, images=3000)
    assert _verdict("top1_drop>0.5", after, before) == "fail"
    assert _verdict("top1_drop>2", after, before) == "pass"
    assert _verdict("top1_drop>1", after, before) == "inconclusive"
    assert _verdict("flips>30", after, before) == "fail"


def test_a_baseline_of_another_machine_makes_the_latency_gate_inconclusive_and_names_both() -> None:
    gate = _gate("p50_ratio>1.1", made_report(ROWS), made_report(ROWS, cpu="Board"))
    assert gate.verdict == "inconclusive"
    assert "another machine (Quiet CPU; the baseline: Board)" in gate.line


@pytest.mark.parametrize("rule", ["top1_drop>1", "flips>0"])
def test_a_baseline_without_predictions_is_named_as_the_reason(rule: str) -> None:
    with pytest.raises(DataError, match="do not both have predictions for labelled images"):
        _verdict(rule, made_report(ROWS), made_report(ROWS, data=None))


@pytest.mark.parametrize("rule", ["p99_ms>9", "images_per_s<5", "top1<0.5"])
def test_a_gate_that_no_row_has_a_value_for_is_an_error_and_does_not_pass(rule: str) -> None:
    with pytest.raises(DataError, match="no row can be evaluated"):
        _verdict(rule, made_report(ROWS, data=None))


@pytest.mark.parametrize("rule", ["p50>12", "p50_ms", "p50_ms>fast", "top1<93", "p50_ms>nan", ""])
def test_a_gate_that_makes_no_sense_is_refused(rule: str) -> None:
    with pytest.raises(UsageError):
        parse_rule(rule)


@pytest.mark.parametrize("rule", ["top1<0.5", "top1_drop>1", "flips>3"])
@pytest.mark.parametrize("baseline", [None, made_report(ROWS)])
def test_a_gate_on_predictions_prints_how_many_images_and_the_points_of_one(rule: str, baseline: Report | None) -> None:
    assert "600 images, 1 prediction is 0.17 points" in _gate(rule, made_report(ROWS), baseline).line


def test_a_slower_row_fails_a_limit_only_where_it_is_beyond_it_by_more_than_noise() -> None:
    slower = made_report({"torch": (12.0, 40), "onnx": (5.6, 40)}, seed=9)
    gate = _gate("p50_ratio>1.06", slower, made_report(ROWS))
    assert gate.verdict == "inconclusive" and "slower: beyond the limit, but not by more than A/A noise" in gate.line
    assert _verdict("p50_ratio>1.01", slower, made_report(ROWS)) == "fail"


def test_gates_skip_the_plain_loop_and_a_chosen_reference_unless_a_name_selects_them() -> None:
    report = made_report({"torch": (85.0, 40), "onnx": (5.0, 40), "loop": (90.0, 40)})
    pytorch, onnx, loop = report.rows
    rows = (replace(pytorch, target="pytorch"), onnx, replace(loop, kind="plain-loop"))
    entries = _entries(replace(report, rows=rows))

    def verdicts(rule: str) -> dict[str, str]:
        return {gate.row: gate.verdict for gate in check_gates([parse_rule(rule)], entries)}

    assert verdicts("p50_ms>12") == {"onnx": "pass"}
    assert verdicts("torch: p50_ms>12") == {"torch": "fail"}
    assert without_gate([parse_rule("p50_ms>12")], entries) == ["torch (the reference)", "loop (no bundle)"]
    assert without_gate([parse_rule("onnx:p50_ms>12")], entries) == []
    chosen = _entries(replace(made_report(ROWS), reference_chosen=True))
    assert [gate.row for gate in check_gates([parse_rule("p50_ms>12")], chosen)] == ["onnx"]
    with pytest.raises(UsageError, match="the rows are torch, onnx, loop"):
        verdicts("caffe: p50_ms>12")


def test_the_first_or_only_bundle_is_evaluated_although_it_is_the_reference() -> None:
    taken = check_gates([parse_rule("p50_ms>1")], _entries(made_report(ROWS)))
    alone = check_gates([parse_rule("p50_ms>1")], _entries(made_report({"torch": (12.0, 40)})))
    assert ([gate.row for gate in taken], [gate.row for gate in alone]) == (["torch", "onnx"], ["torch"])


def test_a_drop_on_too_few_images_is_inconclusive_unless_the_logits_are_equal() -> None:
    report = made_report(ROWS, images=60)
    assert _gate("top1_drop>0.5", report).verdict == "inconclusive"
    assert _gate("top1_drop>0.5", report, report).verdict == "inconclusive"
    assert _gate("top1_drop>8", report).verdict == "pass"
    reference, row = report.rows
    assert row.parity is not None
    same = replace(row, parity=replace(row.parity, logits=Comparison(60, 1e-6, 1.0, 0.0, 0.0, 1.0, 0, 0, 0)))
    gate = _gate("top1_drop>0.5", replace(report, rows=(reference, same)))
    assert gate.verdict == "pass" and "its logits are the reference's" in gate.line
