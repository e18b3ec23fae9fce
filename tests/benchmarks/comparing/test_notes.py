"""What a comparison says beside its figures: reports that are incomplete, differ, or whose own gates failed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_reports import made_report

from edgeclf_benchmarks.comparing.comparison import compare
from edgeclf_benchmarks.comparing.recommend import Limits, recommend
from edgeclf_benchmarks.measuring.report import Gate, Report, write_report

ROWS = {"float": (5.0, 2), "int8": (2.0, 3)}


def sentences(tmp_path: Path, *reports: Report) -> str:
    places = [tmp_path / f"{number}.json" for number in range(len(reports))]
    for report, place in zip(reports, places, strict=True):
        write_report(report, place)
    return "\n".join(each.sentence for each in compare(places).verdict)


def test_an_interrupted_bench_and_images_that_selected_a_model_are_told(tmp_path: Path) -> None:
    report = made_report(ROWS, images=60)
    assert report.data is not None
    told = sentences(tmp_path, replace(report, complete=False, data=replace(report.data, selected_on=True)))
    assert "0.json is incomplete: its bench was interrupted." in told
    assert "0.json has validation images that were used to select models." in told


def test_a_report_of_latency_alone_is_told(tmp_path: Path) -> None:
    assert "measured latency alone, and has no accuracy" in sentences(tmp_path, made_report(ROWS, data=None))


def test_other_references_and_other_threads_are_told(tmp_path: Path) -> None:
    first, other = made_report(ROWS, images=60), made_report({"other": (4.0, 2), "small": (1.0, 3)}, images=60, seed=7)
    rows = tuple(
        replace(
            row,
            digest=row.digest.replace("0", "f"),
            latencies=tuple(replace(each, threads=4) for each in row.latencies),
        )
        for row in other.rows
    )
    told = sentences(tmp_path, first, replace(other, rows=rows, settings=replace(other.settings, threads=(4,))))
    assert "The reports have different references" in told
    assert "different batch sizes or threads: compare latencies with care" in told


def test_failed_gates_of_a_bench_are_told(tmp_path: Path) -> None:
    gate = Gate("p50_ms>1", "int8", 2.0, 1.0, "fail", "int8: p50_ms 2.0, above 1")
    passed = replace(gate, expression="p50_ms>9", limit=9.0, verdict="pass", line="int8: p50_ms 2.0")
    told = sentences(tmp_path, replace(made_report(ROWS, images=60), gates=(gate, passed)))
    assert "0.json: 1 of 2 gates of its bench failed. First: int8: p50_ms 2.0, above 1." in told


@pytest.mark.parametrize(
    ("ms", "said"),
    [
        (2.0, "int8, 2.00 ms, top-1 0.997, 2.48 x faster than float."),
        (5.0, "float (the reference itself), 4.99 ms, top-1 0.997. Its p50 interval overlaps with that of int8."),
        (9.0, "float (the reference itself), 4.99 ms, top-1 0.997."),
    ],
)
def test_the_best_bundle_is_told_with_its_speed(ms: float, said: str, tmp_path: Path) -> None:
    told = sentences(tmp_path, made_report({"float": (5.0, 2), "int8": (ms, 2)}, images=600))
    assert told == f"Fastest of the bundles shown to be as good as the reference on Quiet CPU: {said}"


def left_out(tmp_path: Path, limits: Limits, **changes: Any) -> str:
    """Why `recommend` leaves int8 out of a report whose row of it was changed."""
    report = made_report(ROWS, images=60)
    rows = (report.rows[0], replace(report.rows[1], **changes))
    write_report(replace(report, rows=rows), tmp_path / "report.json")
    (choice,) = recommend([tmp_path / "report.json"], limits)
    return choice.left_out["int8"]


@pytest.mark.parametrize(
    ("limits", "changes", "reason"),
    [
        (Limits(), {"kind": "plain-loop"}, "no bundle, so nothing to deploy"),
        (Limits(), {"latencies": ()}, "latency was not measured"),
        (Limits(max_ms=1.0), {}, "p50 may be 2.01 ms, above 1"),
        (Limits(max_mb=1.0), {}, "10.0 MB, above 1 MB"),
        (Limits(max_mb=1.0), {"bundle_bytes": None}, "above 1 MB"),
        (Limits(min_top1=0.99), {}, "below 0.99"),
        (Limits(min_top1=0.9), {"evaluation": None}, "accuracy was not measured (bench with --data)"),
    ],
)
def test_a_bundle_that_is_not_recommended_has_its_reason(
    limits: Limits, changes: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    assert reason in left_out(tmp_path, limits, **changes)


def test_a_bundle_that_is_worse_than_the_reference_is_not_recommended(tmp_path: Path) -> None:
    parity = made_report(ROWS, images=60).rows[1].parity
    assert parity is not None
    worse = replace(parity, verdict="fail", change_points=-3.0)
    assert "worse than float (-3.00 points)" in left_out(tmp_path, Limits(), parity=worse)


@pytest.mark.parametrize(
    ("gate", "verdict", "line"),
    [
        ("int8: bundle_mb>5", "fail", "10"),
        ("int8: bundle_mb>50", "pass", "10"),
        ("int8: flips>50", "pass", "images"),
        ("int8: p50_ratio>0.9", "pass", "faster"),
    ],
)
def test_a_gate_of_each_kind_of_figure(gate: str, verdict: str, line: str, tmp_path: Path) -> None:
    write_report(made_report(ROWS, images=600), tmp_path / "report.json")
    (found,) = compare([tmp_path / "report.json"], fail_if=[gate]).gates
    assert found.verdict == verdict and line in found.line
