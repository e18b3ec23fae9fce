"""A bench where images may have several labels: mAP, flips of labels, gates, and the page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from brief_bench import make_brief
from PIL import Image
from sklearn.metrics import average_precision_score

from edgeclf_benchmarks.comparing.compare import Source, entries_of
from edgeclf_benchmarks.comparing.comparison import compare
from edgeclf_benchmarks.comparing.gates import check_gates, parse_rule
from edgeclf_benchmarks.comparing.markdown import publish
from edgeclf_benchmarks.comparing.regression import flips, map_drop
from edgeclf_benchmarks.measuring.bench import measure
from edgeclf_benchmarks.measuring.corruptions import Corruption, corrupt
from edgeclf_benchmarks.measuring.options import BenchOptions
from edgeclf_benchmarks.measuring.predictions import LabelledImages
from edgeclf_benchmarks.measuring.report import Report, read_report, report_document, write_report
from edgeclf_benchmarks.measuring.reporting.builder import report_of
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.dataclass_json import from_json
from edgeclf_runtime.bundle.manifest import Thresholds
from edgeclf_runtime.bundle.parity import Parity
from edgeclf_runtime.errors import DataError, UsageError
from edgeclf_runtime.hashing import hash_file
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.images.labelled import LabelledImage
from edgeclf_runtime.metrics.multilabel import MultiLabelEvaluation

QUICK = BenchOptions(profile="quick", rounds=2, threads=(1,), duration_s=0.1)
CLASSES = ("sky", "leaf", "pagoda")  # another order than the bundles have
SEVERAL: dict[str, Any] = {
    "scores": "sigmoid",
    "multi_label": True,
    "thresholds": Thresholds(per_class=(0.4, 0.5, 0.6)),
}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> LabelledImages:
    """Eight images with any of the labels; one has none."""
    folder = tmp_path_factory.mktemp("images")
    shown = []
    for number, picture in enumerate(tiny.images()):
        path = folder / f"{number}.png"
        picture.save(path)
        labels = tuple(label for place, label in enumerate(CLASSES) if number >> place & 1)
        shown.append(LabelledImage(path.parent, path.name, labels, hash_file(path), split="test"))
    data = DataSplit(root=folder, classes=CLASSES, images=tuple(shown), multi_label=True)
    return LabelledImages(data, "test", tuple(shown))


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Bundle]:
    """Two with the same weights and one with others."""
    root = tmp_path_factory.mktemp("bundles")
    return [tiny.build(root / name, seed=seed, **SEVERAL) for name, seed in (("a", 0), ("b", 0), ("c", 1))]


@pytest.fixture(scope="module")
def report(bundles: list[Bundle], images: LabelledImages) -> Report:
    with pytest.MonkeyPatch.context() as patch:
        make_brief(patch)
        options = replace(QUICK, corruptions=("contrast",))
        return report_of(measure(bundles, options, data=images), "edgeclf bench a b c")


def test_rows_have_the_map_of_scikit_learn_and_flips_count_labels(report: Report, images: LabelledImages) -> None:
    assert report.data is not None
    right = np.array([[label in (each.labels or ()) for label in CLASSES] for each in images.images])
    assert [each.labels for each in report.data.images] == [tuple(np.flatnonzero(row).tolist()) for row in right]
    assert report.data.in_words.endswith("labels")
    a, b, c = report.rows
    for row in (a, c):
        assert isinstance(row.evaluation, MultiLabelEvaluation)
        assert row.answers is not None and row.answers.logits is not None
        logits = np.array(row.answers.logits)
        assert row.evaluation.mean_average_precision == pytest.approx(average_precision_score(right, logits))
        predicted = 1 / (1 + np.exp(-logits)) >= [
            0.6,
            0.4,
            0.5,
        ]  # the bundle's own thresholds, in the order of the data
        assert row.answers.labels == tuple(tuple(np.flatnonzero(each).tolist()) for each in predicted)
    assert b.parity is not None and c.parity is not None and isinstance(a.evaluation, MultiLabelEvaluation)
    assert (b.parity.verdict, b.parity.flips, b.parity.figure, b.parity.decisions) == ("pass", 0.0, "mAP", 24)
    assert isinstance(c.evaluation, MultiLabelEvaluation) and c.evaluation.mean_average_precision is not None
    change = c.evaluation.mean_average_precision - (a.evaluation.mean_average_precision or 0)
    assert c.parity.change_points == pytest.approx(100 * change) and c.parity.decisions == 24


def test_corrupted_images_have_the_map_of_scikit_learn_and_a_paired_change(
    report: Report, bundles: list[Bundle], images: LabelledImages
) -> None:
    a, b, c = (row.robustness for row in report.rows)
    assert a is not None and b is not None and c is not None
    right = np.array([[label in (each.labels or ()) for label in CLASSES] for each in images.images])
    pixels = [
        corrupt(Image.open(each.path).convert("RGB"), Corruption("contrast", 2), each.sha256) for each in images.images
    ]
    geometry = bundles[0].manifest.pixels
    assert geometry is not None
    order = [tiny.LABELS.index(label) for label in CLASSES]
    batch = np.stack([geometry.apply(each) for each in pixels])
    for found, seed in ((a, 0), (c, 1)):
        logits = tiny.reference_logits("reference", batch, seed=seed)[:, order]
        assert found.entries[1].value == pytest.approx(average_precision_score(right, logits))
        assert found.mean_value == pytest.approx(np.mean([each.value for each in found.entries]))
    assert (a.verdict, b.mean_change_points, b.entries[0].agreement) == (None, 0.0, 1.0)
    assert c.mean_change_points == pytest.approx(100 * (c.mean_value - a.mean_value)) and "mAP on" in c.reason


def test_figures_are_stored_by_their_names_and_read_by_the_former_ones(report: Report) -> None:
    document = report_document(report)
    first, *_, last = document["rows"]
    assert {"clean_map", "mean_map"} < first["robustness"].keys() and "map" in first["robustness"]["entries"][0]
    assert "map_change_points" in last["parity"] and not any("top1" in name for name in last["parity"])
    former = {name.replace("map", "top1"): value for name, value in last["parity"].items()}
    assert from_json(Parity, former, "") == from_json(Parity, last["parity"], "") == report.rows[-1].parity
    with pytest.raises(DataError, match="wanted one field of top1_change_points, map_change_points"):
        from_json(Parity, {**former, **last["parity"]}, "")


def test_the_report_reads_back_and_its_gates_and_page_speak_of_labels(report: Report, tmp_path: Path) -> None:
    write_report(report, tmp_path / "report.json")
    assert read_report(tmp_path / "report.json") == report
    entries = entries_of([Source("report.json", "", report)])
    gates = check_gates([parse_rule("map<0.01"), parse_rule("c: map_drop>200"), parse_rule("flips>24")], entries)
    assert {gate.verdict for gate in gates} == {"pass"}
    with pytest.raises(DataError, match="of one label an image"):
        check_gates([parse_rule("top1<0.5")], entries)
    again = map_drop(entries[2], entries[0])
    assert again is not None and report.rows[2].parity is not None
    assert again.value == pytest.approx(-report.rows[2].parity.change_points, abs=0.01)
    changed = flips(entries[2], entries[0])
    assert changed is not None
    assert changed.value == report.rows[2].parity.right_to_wrong + report.rows[2].parity.wrong_to_right
    publish(compare([tmp_path / "report.json"], baseline=tmp_path / "report.json"), tmp_path / "out")
    page, summary = ((tmp_path / "out" / name).read_text() for name in ("report.html", "report.md"))
    for shown in (page, summary):
        assert "mAP" in shown and "ΔmAP" in shown and "labels, the lowest AP first" in shown
        assert "worst label" in shown and "mAP by corruption and level" in shown
        assert "top-1" not in shown.lower() and "Confusion" not in shown


def test_tasks_are_not_mixed(bundles: list[Bundle], images: LabelledImages, tmp_path: Path) -> None:
    single = tiny.build(tmp_path / "single")
    with pytest.raises(UsageError, match=r"predicts one label an image, .* several; bench them apart"):
        measure([single, bundles[0]], QUICK)
    with pytest.raises(UsageError, match=r"predicts one label an image, and the images of .* have several labels"):
        measure([single], QUICK, data=images)
    one = replace(images, data=replace(images.data, multi_label=False))
    with pytest.raises(UsageError, match=r"predicts several labels an image, and the images of .* have one label"):
        measure([bundles[0]], QUICK, data=one)
