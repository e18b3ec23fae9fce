"""Latency across reports: the yardstick decides, and on another machine there is no verdict."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_reports import made_report, saved

from edgeclf_benchmarks.comparing.compare import Entry, Source, entries_of
from edgeclf_benchmarks.comparing.findings import findings
from edgeclf_benchmarks.comparing.gates import check_gates, parse_rule
from edgeclf_benchmarks.comparing.latency_change import LatencyChange, latency_change
from edgeclf_benchmarks.measuring.report import Gate, Report, read_report

ROWS = {"torch": (12.0, 40), "onnx": (5.0, 40)}
STICKS = {"onnx": 2.0, "numpy": 3.0}


def report(times: float = 1.0, *, machine: float = 1.0, seed: int = 0, **named: Any) -> Report:
    """All rows `times` as slow, on a machine that is `machine` times as slow; quiet, with yardsticks."""
    rows = {name: (ms * times * machine, wrong) for name, (ms, wrong) in ROWS.items()}
    sticks = {target: ms * machine for target, ms in STICKS.items()}
    return made_report(rows, seed=seed, **{"yardsticks": sticks, "busy": 0.0, **named})


def entry(of: Report) -> Entry:
    return entries_of([Source("a.json", "0", of)])[1]


def change(now: Report, before: Report) -> LatencyChange:
    found = latency_change(entry(now), entry(before))
    assert found is not None
    return found


def gate(now: Report, before: Report, rule: str = "p50_ratio>1.05") -> Gate:
    older = entries_of([Source("old.json", "0", before)])
    return check_gates([parse_rule(rule)], entries_of([Source("new.json", "1", now)]), older)[1]


@pytest.mark.parametrize(
    "machine", [0.75, 1.4, *(pytest.param(each, marks=pytest.mark.slow) for each in (0.92, 1.0, 1.09))]
)
def test_a_slowdown_of_15_percent_fails_by_the_yardstick_however_fast_the_machine_became(machine: float) -> None:
    found = gate(report(1.15, machine=machine, seed=9), report())
    assert found.verdict == "fail"
    assert found.found == pytest.approx(1.15, rel=0.03)
    assert "by the yardstick onnx" in found.line and "by the clock" in found.line and "slower" in found.line


@pytest.mark.parametrize(
    ("machine", "seed"),
    [(0.75, 1), (1.4, 5), *(pytest.param(1.0, seed, marks=pytest.mark.slow) for seed in (2, 3, 4))],
)
def test_a_repeat_on_a_quiet_machine_passes_however_fast_the_machine_became(machine: float, seed: int) -> None:
    now = report(machine=machine, seed=100 + 7 * seed)
    assert gate(now, report()).verdict == "pass"
    assert change(now, report()).speed == "no difference shown"


def test_a_slowdown_within_a_a_noise_does_not_fail() -> None:
    now = report(1.15, seed=9)
    wide = tuple(replace(each, floor=1.3) for each in now.same_against_same)
    found = gate(replace(now, same_against_same=wide), report())
    assert found.verdict == "inconclusive" and "A/A noise (1.300)" in found.line


@pytest.mark.parametrize(("machine", "word"), [(2.2, "2.2. times slower"), (1 / 1.75, "1.7. times faster")])
@pytest.mark.parametrize("times", [1.0, 1.15, 0.5])
def test_where_the_yardstick_changed_too_much_the_verdict_is_inconclusive_and_states_by_how_much(
    machine: float, word: str, times: float
) -> None:
    found = gate(report(times, machine=machine, seed=9), report())
    assert found.verdict == "inconclusive"
    number, rest = word.split(". ")
    assert f"the machine was {number}" in found.line and rest in found.line


@pytest.mark.parametrize(("now", "before", "which"), [(1.9, 0.0, "this run"), (0.0, 1.9, "the baseline's")])
@pytest.mark.parametrize("times", [1.0, 3.0])
def test_where_other_processes_were_busy_the_verdict_is_inconclusive(
    now: float, before: float, which: str, times: float
) -> None:
    found = gate(report(times, seed=9, busy=now), report(busy=before))
    assert found.verdict == "inconclusive"
    assert f"other processes kept 1.9 of 2 cores busy during {which}" in found.line


def test_a_little_load_of_others_does_not_prevent_a_verdict() -> None:
    assert gate(report(1.15, seed=9, busy=0.1), report(busy=0.1)).verdict == "fail"


def test_other_threads_than_the_baselines_are_named() -> None:
    before = report()
    before = replace(before, settings=replace(before.settings, threads=(1,)))
    rows = [replace(row, latencies=tuple(replace(each, threads=1) for each in row.latencies)) for row in before.rows]
    found = gate(report(seed=9), replace(before, rows=tuple(rows)))
    assert found.verdict == "inconclusive" and "threads 2, in the baseline 1" in found.line


def test_a_new_version_of_the_engine_is_measured_by_numpys_yardstick_and_not_by_its_own() -> None:
    slower = report(1.15, seed=9, engine="onnxruntime 1.21", yardsticks={"onnx": 2.3, "numpy": 3.0})
    found = change(slower, report())
    assert (found.yardstick, found.speed) == ("numpy", "slower")
    assert gate(slower, report()).verdict == "fail"


def test_reports_without_a_yardstick_load_and_are_compared_by_the_clock_where_both_machines_were_quiet(
    tmp_path: Path,
) -> None:
    path = saved(made_report(ROWS), tmp_path / "old.json")
    content = json.loads(path.read_text())
    del content["yardsticks"], content["rounds_busy_cores"]
    path.write_text(json.dumps(content))
    old = read_report(path)
    found = gate(report(1.15, seed=9), old)
    assert found.verdict == "fail" and "no yardstick in common" in found.line
    assert gate(report(seed=9), old).verdict == "pass"


@pytest.mark.parametrize(
    ("busy", "why"), [(1.5, "kept 1.5 of 2 cores busy"), (None, "is not known during the baseline's")]
)
def test_without_a_yardstick_a_machine_that_was_not_quiet_allows_no_verdict(busy: float | None, why: str) -> None:
    old = made_report(ROWS)
    old = replace(old, before=replace(old.before, busy_cores=busy))
    found = gate(report(1.15, seed=9), old)
    assert found.verdict == "inconclusive" and why in found.line


def test_the_table_and_the_gate_agree_on_slower() -> None:
    for now in (report(1.15, seed=9), report(seed=9), report(1.15, seed=9, busy=2.0), report(1.04, seed=9)):
        speed = change(now, report()).speed
        verdict = gate(now, report(), "p50_ratio>1").verdict
        assert (verdict == "fail") == (speed == "slower")


def test_a_comparison_states_why_latencies_can_not_be_compared() -> None:
    now = Source("new.json", "1", report(seed=9, busy=2.0))
    found = findings([now], entries_of([now]), (), Source("old.json", "0", report()))
    sentence = next(each.sentence for each in found if "can't be compared" in each.sentence)
    assert "Latency can't be compared with old.json: other processes kept 2.0 of 2 cores busy" in sentence


def test_the_interval_in_proportion_holds_the_yardsticks_uncertainty_too() -> None:
    steady, before = report(seed=9), report()
    noisy = replace(
        steady,
        yardsticks=tuple(
            replace(each, latency=made_report({"a": (each.latency.p50_ms, 0)}, seed=3, noise=0.3).rows[0].latencies[0])
            for each in steady.yardsticks
        ),
    )
    narrow, wide = change(steady, before).proportion, change(noisy, before).proportion
    assert narrow is not None and wide is not None and narrow.interval is not None and wide.interval is not None
    assert wide.interval.high - wide.interval.low > 2 * (narrow.interval.high - narrow.interval.low)
