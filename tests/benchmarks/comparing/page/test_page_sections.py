"""Sections of a comparison's page and Markdown: changed predictions, differences, the baseline, marks."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
from made_reports import made_report, saved

from edgeclf_benchmarks.comparing.compare import Compared, Entry, entries_of, read_sources
from edgeclf_benchmarks.comparing.findings import findings
from edgeclf_benchmarks.comparing.markdown import summary
from edgeclf_benchmarks.comparing.page.confusion import changes_table, difference
from edgeclf_benchmarks.comparing.page.flips import flipped_images
from edgeclf_benchmarks.comparing.page.latency_charts import trace
from edgeclf_benchmarks.comparing.page.page import page
from edgeclf_benchmarks.comparing.page.small_charts import areas_table, hardest_classes
from edgeclf_benchmarks.comparing.regression import since_baseline
from edgeclf_benchmarks.measuring.report import Gate, Report
from edgeclf_benchmarks.measuring.thumbnails import SIDE_PX, most_telling, thumbnails_of
from edgeclf_benchmarks.measuring.timing import summarise
from edgeclf_benchmarks.page.escaping import name, shortened
from edgeclf_benchmarks.page.marks import mark, marker_of
from edgeclf_runtime.hashing import hash_file
from edgeclf_runtime.images.decode import decode
from edgeclf_runtime.images.labelled import LabelledImage
from edgeclf_runtime.metrics.curves import hardest_of

ROWS = {"torch": (12.0, 40), "onnx": (5.0, 40), "int8": (3.0, 43)}


def _compared(folder: Path, *reports: Report, baseline: Report | None = None) -> Compared:
    sources = read_sources([saved(each, folder / f"{place}.json") for place, each in enumerate(reports)])
    older = None if baseline is None else read_sources([saved(baseline, folder / "old.json")])[0]
    verdict = findings(sources, entries_of(sources), (), older)
    return Compared(
        created_utc="now",
        edgeclf="0",
        command="edgeclf compare",
        verdict=verdict,
        gates=(),
        sources=sources,
        baseline=older,
    )


def _entries(folder: Path, *reports: Report) -> tuple[Entry, ...]:
    return entries_of(_compared(folder, *reports).sources)


def test_an_image_that_changes_shows_both_predictions_and_the_rows_that_make_them(tmp_path: Path) -> None:
    images, count = flipped_images(_entries(tmp_path, made_report(ROWS)))
    assert count == len(images) == 3  # 40, 41 and 42 are right but for int8
    right, wrong = images[0].predictions
    assert (images[0].path, images[0].label) == ("folder/40.png", "dog")
    assert (right.label, right.right, right.numbers) == ("dog", True, (1, 2))
    assert (wrong.label, wrong.right, wrong.numbers) == ("eel", False, (3,))
    assert images[0].thumbnail is not None
    html = page(_compared(tmp_path / "page", made_report(ROWS)))
    assert html.count("<img alt=") == 3 and "All images (3)" in html


def test_images_without_a_thumbnail_in_the_report_are_named(tmp_path: Path) -> None:
    report = made_report(ROWS)
    assert report.data is not None
    html = page(_compared(tmp_path, replace(report, data=replace(report.data, thumbnails={}))))
    assert "<img" not in html and html.count("no thumbnail") == 3 and "40.png" in html


def test_images_that_most_rows_lose_come_first() -> None:
    labels = np.array([0, 0, 1, 1, 2])
    reference = np.array([0, 0, 1, 0, 2])
    one, other = np.array([0, 1, 2, 1, 2]), np.array([0, 1, 1, 0, 2])
    right, *rows = (np.asarray(each == labels, dtype=np.intp) for each in (reference, one, other))
    assert most_telling(right, rows) == [1, 2, 3]  # lost by both, lost by one, gained by one
    assert most_telling(right, []) == []


def test_thumbnails_are_small_and_an_image_that_is_gone_has_none(tmp_path: Path) -> None:
    images = []
    for number, picture in enumerate(tiny.images()[:2]):
        picture.resize((400, 200)).save(tmp_path / f"{number}.png")
        images.append(LabelledImage(tmp_path, f"{number}.png"))
    (tmp_path / "0.png").unlink()
    found = thumbnails_of(images, [0, 1])
    assert list(found) == ["1.png"]
    assert decode(base64.b64decode(found["1.png"])).image.size == (SIDE_PX, SIDE_PX // 2)
    assert thumbnails_of(images, [1], most=0) == {}


def test_a_difference_of_confusions_counts_images_more_and_fewer(tmp_path: Path) -> None:
    torch, _, int8 = _entries(tmp_path, made_report(ROWS))
    found, reference = int8.row.evaluation, torch.row.evaluation
    assert found is not None and reference is not None
    assert np.array(difference(found, reference)).tolist() == [[-1, 1, 0], [0, -1, 1], [1, 0, -1]]
    assert ("cat", "dog", "+1") in changes_table(int8, found, reference).rows
    html = page(_compared(tmp_path / "page", made_report(ROWS)))
    assert '<td class="miss" style="--share:100%">−1</td>' in html
    assert "No cell differs from that of torch" in html  # onnx


def test_many_classes_become_pairs_and_the_page_stays_small(tmp_path: Path) -> None:
    rows = {f"row_{number}": (12.0 - number, 40 + number) for number in range(10)}
    report = made_report(rows, classes=tuple(f"class {number}" for number in range(120)), images=240)
    html = page(_compared(tmp_path, report))
    assert "commonest confusions" in html and 'class="matrix"' not in html
    assert len(html) < 1_000_000


def test_one_matrix_serves_all_machines_with_the_same_predictions(tmp_path: Path) -> None:
    html = page(_compared(tmp_path, made_report(ROWS), made_report(ROWS, cpu="Board")))
    assert html.count("<details") == 3 and html.count("the same as") == 3


def test_the_baseline_shows_what_changed_and_names_rows_that_came_or_went(tmp_path: Path) -> None:
    older = made_report({"torch": (10.0, 38), "gone": (2.0, 40)}, seed=7)
    compared = _compared(tmp_path, made_report(ROWS), baseline=older)
    table = since_baseline(compared)
    assert table is not None
    (row,) = table.rows
    assert row[0] == "torch" and row[1].endswith(" ms") and row[5] == "slower"
    assert row[6].startswith("-0.33 points") and row[7] == "2"
    sentences = [each.sentence for each in compared.verdict]
    assert any("Only in the baseline old.json" in each and "gone" in each for each in sentences)
    assert any("Not in the baseline old.json" in each and "int8, onnx" in each for each in sentences)
    assert "Since the baseline" in page(compared) and "## Since the baseline" in summary(compared)


def test_latencies_of_another_machine_are_not_compared_with_the_baseline(tmp_path: Path) -> None:
    compared = _compared(tmp_path, made_report(ROWS, cpu="Board"), baseline=made_report(ROWS))
    table = since_baseline(compared)
    assert table is not None
    assert {row[1] for row in table.rows} == {"n/a"} and {row[5] for row in table.rows} == {"another machine"}


def test_gates_of_a_bench_are_on_the_page_the_failed_first(tmp_path: Path) -> None:
    gates = tuple(
        Gate("p50_ms>4", row, ms, 4.0, verdict, f"p50_ms>4: {row}: {ms} ms")
        for row, ms, verdict in (("int8", 3.0, "pass"), ("onnx", 5.0, "fail"))
    )
    compared = _compared(tmp_path, replace(made_report(ROWS), gates=gates))
    assert compared.verdict[0].kind == "fail" and "1 of 2 gates of its bench failed" in compared.verdict[0].sentence
    html = page(compared)
    assert html.index("onnx (0.") < html.index("int8 (0.")


def test_thirty_two_rows_have_marks_and_lines_of_their_own() -> None:
    styles = [(marker_of(number), re.sub("<text.*", "", mark(number, 0, 0))) for number in range(1, 33)]
    assert len(set(styles)) == 32
    assert len({style for style, _ in styles}) == 32


def test_all_rows_have_curves_of_the_same_classes() -> None:
    assert hardest_of([[0.9, 0.5, None, 0.99], [0.95, 0.97, None, 0.4]], most=2) == {1, 3}
    assert hardest_of([]) == set()


def test_classes_whose_curves_are_shown_are_the_hardest(tmp_path: Path) -> None:
    entries = _entries(tmp_path, made_report(ROWS))
    found = [curves for entry in entries for curves in entry.row.curves]
    areas = {label: min(each.auc for each in found if each.label == label) for label in ("cat", "dog", "eel")}
    assert hardest_classes(entries) == sorted(areas, key=lambda label: areas[label])
    table = areas_table(entries)
    assert table is not None and len(table.headings) == 4


def test_an_outlier_stays_visible_in_the_trace(tmp_path: Path) -> None:
    report = made_report(ROWS)
    rounds = [[5.0] * 200 for _ in range(20)]
    rounds[7][33] = 99.0
    slow = summarise("infer", 1, 2, rounds, [[i + 0.001 * j for j in range(200)] for i in range(20)], None)
    rows = tuple(replace(row, latencies=(slow,)) for row in report.rows[:1])
    drawn = trace(_entries(tmp_path, replace(report, rows=rows, comparisons=())))
    strokes = re.findall(r"M[\d.]+ ([\d.]+)V([\d.]+)", re.findall(r'class="dots" d="([^"]+)"', drawn)[0])
    assert len(strokes) <= 180
    assert sum(float(top) < float(base) - 30 for base, top in strokes) == 1
    assert "1 outlier" in drawn


@pytest.mark.parametrize("lacking", ["data", "latency", "predictions"])
def test_a_report_that_lacks_something_still_becomes_a_page(tmp_path: Path, lacking: str) -> None:
    report = made_report(ROWS, data=None if lacking == "data" else "photos", corrupted=True)
    if lacking == "latency":
        report = replace(report, rows=tuple(replace(row, latencies=()) for row in report.rows), comparisons=())
    if lacking == "predictions":
        bare = {"answers": None, "evaluation": None, "parity": None, "curves": (), "robustness": None}
        report = replace(report, complete=False, rows=(report.rows[0], replace(report.rows[1], **bare)), comparisons=())
    compared = _compared(tmp_path, report)
    html, written = page(compared), summary(compared)
    assert ("Confusion" in html) == ("## Confusion" in written) == (lacking != "data")
    assert ("Latency in detail" in html) == ("## Latency in detail" in written) == (lacking != "latency")
    assert ("Robustness" in html) == (lacking != "data")


def test_the_markdown_has_the_sections_of_the_page(tmp_path: Path) -> None:
    compared = _compared(tmp_path, made_report(ROWS, corrupted=True), baseline=made_report(ROWS, seed=3))
    charts = {
        "Latency against accuracy",
        "Reliability",
        "ROC curves",
        "Verdict",
    }  # in figures: Speed, Accuracy, Classes
    shown = set(re.findall(r"<h2 [^>]*>([^<]+)</h2>", page(compared))) - charts
    assert shown == set(re.findall(r"^## (.+)$", summary(compared), re.MULTILINE))


def test_names_break_at_separators_and_keep_their_ends_when_shortened() -> None:
    assert name("lite0-onnx_fp32 1.5.json") == "lite0-<wbr>onnx_<wbr>fp32 1.5.<wbr>json"
    assert shortened("efficientnet_lite0-onnx-fp32", 17) == "efficien…nnx-fp32"
    assert shortened("short", 17) == "short"


def test_a_report_keeps_its_hash_when_it_is_a_baseline(tmp_path: Path) -> None:
    compared = _compared(tmp_path, made_report(ROWS), baseline=made_report(ROWS, seed=3))
    assert compared.baseline is not None
    assert hash_file(tmp_path / "old.json") == compared.baseline.sha256
    assert compared.baseline.sha256 in page(compared)
