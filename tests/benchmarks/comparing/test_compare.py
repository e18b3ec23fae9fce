"""Reports side by side: what is merged, what is refused, and a page in which no name is markup."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from made_reports import made_report, saved

from edgeclf_benchmarks.comparing.columns import SHORT, SPEED, with_values
from edgeclf_benchmarks.comparing.compare import Compared, Source, check_alike, entries_of, read_sources
from edgeclf_benchmarks.comparing.findings import findings
from edgeclf_benchmarks.comparing.markdown import publish, summary
from edgeclf_benchmarks.comparing.page.page import page
from edgeclf_benchmarks.comparing.page.tradeoff_chart import undominated
from edgeclf_benchmarks.comparing.recommend import Limits, choose
from edgeclf_benchmarks.measuring.report import Report
from edgeclf_runtime.bundle.teacher_info import TeacherInfo
from edgeclf_runtime.errors import DataError, UsageError
from edgeclf_runtime.metrics.intervals import Resampling
from edgeclf_runtime.metrics.robustness import Numbers, robustness_of

ROWS = {"torch": (12.0, 40), "onnx": (5.0, 40), "int8": (3.0, 60)}
EVIL = "<script>alert(1)</script>|[red]=cmd\x1b[31m\u202e"


def _compared(folder: Path, *reports: Report) -> Compared:
    paths = [saved(report, folder / f"{place}.json") for place, report in enumerate(reports)]
    sources = read_sources(paths)
    verdict = findings(sources, entries_of(sources), ())
    return Compared(
        created_utc="now", edgeclf="0", command="edgeclf compare", verdict=verdict, gates=(), sources=sources
    )


def test_rows_of_several_machines_get_unique_names(tmp_path: Path) -> None:
    compared = _compared(tmp_path, made_report(ROWS), made_report(ROWS, cpu="Board"), made_report(ROWS, seed=5))
    names = [entry.name for entry in entries_of(compared.sources)]
    assert len(set(names)) == 9
    assert {"onnx @ Quiet CPU #1", "onnx @ Board", "onnx @ Quiet CPU #3"} <= set(names)


def test_a_short_table_names_teachers_where_a_bundle_has_one(tmp_path: Path) -> None:
    plain = made_report(ROWS)
    taught = replace(
        plain,
        rows=(replace(plain.rows[0], teacher=TeacherInfo(name="large", kind="run", sha256="0" * 64)), *plain.rows[1:]),
    )

    def headings(name: str, report: Report) -> list[str]:
        (tmp_path / name).mkdir()
        return [each.heading for each in with_values(SHORT, entries_of(_compared(tmp_path / name, report).sources))]

    assert "teacher" in headings("taught", taught) and "teacher" not in headings("plain", plain)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (made_report(ROWS, data="films"), "different data"),
        (made_report(ROWS, images=300), "different images"),
        (made_report(ROWS, classes=("dog", "cat", "eel")), "labels in different orders"),
        (made_report(ROWS, classes=("ant", "bee", "fly")), "different tasks"),
    ],
)
def test_reports_that_can_not_be_compared_are_refused_in_one_line(other: Report, message: str) -> None:
    with pytest.raises(DataError, match=message) as refusal:
        check_alike(made_report(ROWS), other, "a.json", "b.json")
    assert "\n" not in str(refusal.value)


def test_encoders_and_classifiers_are_different_tasks() -> None:
    report = made_report(ROWS)
    encoders = replace(report, data=None, rows=tuple(replace(row, labels=(), answers=None) for row in report.rows))
    with pytest.raises(DataError, match="different tasks: one label and embeddings; compare them apart"):
        check_alike(report, encoders, "a.json", "b.json")


def test_one_label_and_several_labels_are_different_tasks() -> None:
    report = made_report(ROWS)
    several = replace(report, rows=tuple(replace(row, scores="sigmoid", multi_label=True) for row in report.rows))
    with pytest.raises(DataError, match="different tasks"):
        check_alike(report, several, "a.json", "b.json")


def test_the_same_report_twice_another_schema_and_a_merged_report_are_refused(tmp_path: Path) -> None:
    path = saved(made_report(ROWS), tmp_path / "a.json")
    with pytest.raises(UsageError, match="same report"):
        read_sources([path, path])
    newer = tmp_path / "newer.json"
    newer.write_text(path.read_text().replace('"schema": 1', '"schema": 2', 1))
    with pytest.raises(DataError, match="schema 2"):
        read_sources([path, newer])
    publish(_compared(tmp_path, made_report(ROWS)), tmp_path / "out")
    with pytest.raises(DataError, match="merged by compare"):
        read_sources([tmp_path / "out" / "report.json"])


def test_the_verdict_names_the_fastest_that_is_as_good_and_what_is_worse(tmp_path: Path) -> None:
    first, second = _compared(tmp_path, made_report(ROWS)).verdict
    assert first.kind == "fail" and first.sentence.startswith("int8 is worse than torch")
    assert second.kind == "pass"
    assert "onnx, 5.0" in second.sentence and "2.38 x faster than torch" in second.sentence


def test_a_report_without_data_is_accepted_and_noted_as_latency_alone(tmp_path: Path) -> None:
    compared = _compared(tmp_path, made_report(ROWS), made_report(ROWS, data=None, cpu="Board"))
    assert any("1.json measured latency alone" in each.sentence for each in compared.verdict)
    assert "Latency against accuracy" in page(compared)


def test_a_row_that_is_worse_on_corrupted_images_only_is_named(tmp_path: Path) -> None:
    report = made_report({"torch": (12.0, 40), EVIL: (5.0, 40)})
    labels = np.zeros(300, dtype=np.intp)
    good, bad = Numbers(labels, np.zeros((3, 300), dtype=np.intp)), np.zeros((3, 300), dtype=np.intp)
    bad[2, :60] = 1
    ways = [("blur", level) for level in (1, 2, 3)]
    rows = [
        replace(row, robustness=robustness_of(ways, *pair, labels, Resampling(300), margin_points=1.0))
        for row, pair in zip(report.rows, [(good, None), (Numbers(labels, bad), good)], strict=True)
    ]
    compared = _compared(tmp_path, replace(report, rows=tuple(rows)))
    assert any("is worse than torch on corrupted images" in each.sentence for each in compared.verdict)
    text = summary(compared)
    assert "| blur 3 | 1.000 | 0.800 |" in text and "blur 3\\: -20.0 points" in text and "<script>" not in text


class _Reader(HTMLParser):
    """The tags and the attributes of a page; what it refers to, and what can be referred to."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.sources: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        for name, found in ((name, value or "") for name, value in attrs):
            {"src": self.sources, "href": self.links, "id": self.ids}.get(name, []).append(found)


def test_names_that_would_inject_are_text_in_page_and_markdown(tmp_path: Path) -> None:
    report = made_report({"torch": (12.0, 40), EVIL: (5.0, 44)}, classes=(EVIL, '"><img src=x onerror=y>', "eel"))
    assert report.data is not None
    thumbnails = {"folder/43.png": '"><script>', "folder/42.png": "AA=="}
    report = replace(report, data=replace(report.data, thumbnails=thumbnails))
    compared = _compared(tmp_path, report)
    read = _Reader(html := page(compared))
    assert not {"script", "link", "iframe"} & set(read.tags)
    assert not {name for name in read.attributes if name.startswith("on")}
    assert sorted(read.sources) == ['data:image/jpeg;base64,"><script>', "data:image/jpeg;base64,AA=="]
    assert "&lt;script&gt;alert(1)" in html
    written = summary(compared)
    assert "<" not in written and r"\|\[red\]\=cmd" in written
    for shown in (html, written):
        assert "\x1b" not in shown and "\u202e" not in shown


def test_the_page_refers_to_nothing_outside_itself(tmp_path: Path) -> None:
    html = page(_compared(tmp_path, made_report(ROWS), made_report(ROWS, cpu="Board")))
    read = _Reader(html)
    assert not {"action", "data", "srcset", "xlink:href"} & read.attributes
    assert all(each.startswith("data:image/jpeg;base64,") for each in read.sources) and read.sources
    assert {each.removeprefix("#") for each in read.links} <= set(read.ids)
    assert len(read.ids) == len(set(read.ids))
    assert not re.search(r"https?:|url\(|@import", html)
    assert "default-src 'none'" in html
    assert html.count("<table") == html.count("<caption") >= 8
    assert html.index('<h2 id="verdict"') < html.index("<svg") < html.index('<h2 id="speed"')


def test_the_headline_counts_machines_not_reports(tmp_path: Path) -> None:
    again = _compared(tmp_path, made_report(ROWS), made_report(ROWS, seed=5))
    assert "<h1>6 bundles on one machine, 2 reports</h1>" in page(again)
    (tmp_path / "board").mkdir()
    others = _compared(tmp_path / "board", made_report(ROWS), made_report(ROWS, cpu="Board"), made_report(ROWS, seed=5))
    assert "<h1>9 bundles on 2 machines</h1>" in page(others)


def test_too_few_samples_are_reported(tmp_path: Path) -> None:
    assert page(_compared(tmp_path, made_report(ROWS))).count("oo few calls for p99 of every row (662") == 1


def test_the_pareto_front_holds_only_rows_that_no_other_beats_in_both() -> None:
    assert undominated([(3, 0.9), (1, 0.8), (2, 0.7), (4, 0.9)]) == [(1, 0.8), (3, 0.9)]


def test_the_pick_is_the_fastest_within_limits_and_the_rest_have_a_reason(tmp_path: Path) -> None:
    entries = entries_of(_compared(tmp_path, made_report(ROWS)).sources)
    (choice,) = choose(entries, Limits(max_ms=10))
    assert choice.pick == "onnx"
    assert "above 10" in choice.left_out["torch"] and "worse than torch" in choice.left_out["int8"]
    (none,) = choose(entries, Limits(min_top1=0.93))  # 0.933, but the interval goes below
    assert none.pick is None and "may be" in none.left_out["onnx"]


def test_a_faster_row_with_too_few_images_is_not_picked_but_listed_with_how_many_more_it_needs(tmp_path: Path) -> None:
    few = made_report({"torch": (12.0, 4), "onnx": (5.0, 4), "openvino": (5.001, 4)}, images=60)
    compared = _compared(tmp_path, few)
    (choice,) = choose(entries_of(compared.sources), Limits())
    parity = few.rows[1].parity
    assert parity is not None and parity.images_needed is not None
    more = parity.images_needed - 60
    assert choice.pick == "torch" and set(choice.unproven) == {"onnx", "openvino"}
    assert f"unproven: {more} more images" in choice.unproven["onnx"]
    sentences = [each.sentence for each in compared.verdict]
    assert any("as good as the reference on Quiet CPU: torch (the reference itself), 1" in each for each in sentences)
    assert any("Faster, but not shown to be as good" in each and each.count(f"{more} more") == 2 for each in sentences)


def test_no_number_of_images_is_promised_where_more_would_not_settle_it(tmp_path: Path) -> None:
    report = made_report({"torch": (12.0, 40), "onnx": (5.0, 43)}, images=300)
    parity = report.rows[1].parity
    assert parity is not None and (parity.verdict, parity.images_needed) == ("inconclusive", None)
    (choice,) = choose(entries_of(_compared(tmp_path, report).sources), Limits())
    assert choice.unproven["onnx"].endswith("unproven: more images would not settle it")


def test_equal_logits_prove_a_bundle_as_good_however_few_the_images(tmp_path: Path) -> None:
    few = made_report({"torch": (12.0, 4), "onnx": (5.0, 4)}, images=60)
    reference, row = few.rows
    assert row.parity is not None
    same = replace(row, parity=replace(row.parity, verdict="pass"))
    compared = _compared(tmp_path, replace(few, rows=(reference, same)))
    (choice,) = choose(entries_of(compared.sources), Limits())
    assert (choice.pick, choice.unproven) == ("onnx", {})
    assert any("shown to be as good as the reference on Quiet CPU: onnx" in each.sentence for each in compared.verdict)


def test_the_pick_is_reported_with_what_was_not_shown_about_it(tmp_path: Path) -> None:
    few = made_report({"torch": (12.0, 4), "onnx": (5.0, 4), "openvino": (5.001, 4)}, images=60)
    (choice,) = choose(entries_of(_compared(tmp_path, few).sources), Limits(max_ms=10))
    assert choice.pick is not None and "not shown to be as good as torch" in choice.reason
    assert f"its p50 interval overlaps with that of {({'onnx', 'openvino'} - {choice.pick}).pop()}" in choice.reason
    corrupted = made_report({"torch": (12.0, 40), "int8": (5.0, 40)}, corrupted=True)
    rows = tuple(
        replace(row, robustness=row.robustness and replace(row.robustness, verdict="fail")) for row in corrupted.rows
    )
    (choice,) = choose(entries_of(_compared(tmp_path / "corrupted", replace(corrupted, rows=rows)).sources), Limits())
    assert choice.pick == "int8" and "worse than torch on corrupted images" in choice.reason


def test_end_to_end_has_its_interval_like_inference() -> None:
    (entry,) = entries_of([Source("a.json", "0", made_report({"onnx": (5.0, 40)}))])
    cells = {each.heading: each.cell(entry) for each in SPEED}
    found = entry.latency("end_to_end")
    assert found is not None and found.p50_interval_ms is not None
    low, high = found.p50_interval_ms.low, found.p50_interval_ms.high
    assert cells["end to end p50 [95 %]"] == f"{found.p50_ms:.2f} ms [{low:.2f}, {high:.2f}]"
    assert low < found.p50_ms < high
