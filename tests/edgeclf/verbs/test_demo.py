"""The demo's last steps: its bundles side by side on the test images, and a sentence that is frank, whoever wins."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import tiny

from edgeclf.baselines.approaches import Approach, compare_approaches, verdict_on
from edgeclf.verbs.demo import _compare
from edgeclf_runtime.bundle.manifest import Thresholds
from edgeclf_runtime.hashing import hash_file
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.images.labelled import LabelledImage
from edgeclf_runtime.metrics.intervals import Interval


def approach(name: str, target: str, accuracy: float, half: float = 0.02) -> Approach:
    interval = Interval(accuracy - half, accuracy + half, "Wilson")
    return Approach(name, target, 100, accuracy, interval, 1.0, 10, 2.0)


def test_the_baselines_victory_is_admitted() -> None:
    rows = [approach("svm", "hog-svm", 0.99), approach("net", "onnx", 0.95)]
    assert verdict_on(rows) == "svm is the most accurate here: the classical baseline wins"


def test_overlapping_intervals_decide_nothing() -> None:
    rows = [approach("svm", "hog-svm", 0.90), approach("net", "onnx", 0.93)]
    assert "can't tell them apart" in verdict_on(rows)


def test_a_clear_lead_is_given_in_points() -> None:
    rows = [approach("svm", "hog-svm", 0.50), approach("net", "onnx", 0.90)]
    assert verdict_on(rows) == "net beats the classical baseline by 40.0 points, intervals apart"


def test_images_of_several_labels_are_compared_by_map_to_the_last_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = []
    for number, image in enumerate(tiny.images()):
        place = tmp_path / f"{number}.png"
        image.save(place)
        labels = tuple(label for bit, label in enumerate(tiny.LABELS) if number >> bit & 1)
        shown.append(LabelledImage(tmp_path, place.name, labels, hash_file(place), split="test" if number else "train"))
    data = DataSplit(root=tmp_path, classes=tiny.LABELS, images=tuple(shown), multi_label=True)
    for name in ("net", "svm"):
        tiny.build(
            tmp_path / "bundles" / name, scores="sigmoid", multi_label=True, thresholds=Thresholds(per_class=(0.5,) * 3)
        )
    rows = compare_approaches([tmp_path / "bundles" / name for name in ("net", "svm")], data)
    assert {row.figure for row in rows} == {"mAP"} and 0 < rows[0].accuracy == rows[1].accuracy <= 1
    _compare([rows[0], replace(rows[1], target="hog-svm")])
    out = capsys.readouterr()
    assert "mAP" in out.out and f"{rows[0].accuracy:.3f}" in out.out and "accuracy" not in out.out
    assert "edgeclf predict bundles/net" in out.err
