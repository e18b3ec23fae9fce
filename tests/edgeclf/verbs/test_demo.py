"""The demo's last sentence is frank, whoever wins."""

from __future__ import annotations

from edgeclf.baselines.approaches import Approach, verdict_on
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
