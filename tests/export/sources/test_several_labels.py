"""Classifiers that don't say that an image may have several labels: they are told so, with a threshold for each."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from foreign import write_network

from edgeclf.cli import run
from edgeclf_export.sources.several_labels import read_thresholds
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.classifier import Classifier
from edgeclf_runtime.errors import DataError, UsageError

onnx = pytest.importorskip("onnx")
LABELS = ("leaf", "pagoda", "sky")


def write(folder: Path, end: str | None) -> tuple[str, ...]:
    """The network of `foreign.py`, with an activation at its end."""
    given = write_network(folder)
    if end is not None:
        model = onnx.load(folder / "net.onnx")
        model.graph.node.append(onnx.helper.make_node(end, ["logits"], ["scores"]))
        model.graph.output[0].name = "scores"
        onnx.save(model, folder / "net.onnx")
    return given


@pytest.mark.parametrize("end", ["Sigmoid", None])
def test_a_foreign_file_gets_a_threshold_for_each_label(
    end: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    given = write(tmp_path, end)
    Path("least.json").write_text(json.dumps({"sky": 0.9, "leaf": 0.1}))
    assert run(["export", *given, "--multi-label", "--thresholds", "least.json"]) == 0
    assert "label agreement" in capsys.readouterr().out
    bundle = Bundle.open("bundles/net-onnx-fp32")
    assert bundle.manifest.multi_label and bundle.manifest.thresholds.per_class == (0.1, 0.5, 0.9)
    assert bundle.manifest.proof is not None and bundle.manifest.proof.verdict == "pass"
    with Classifier.open(bundle) as classifier:
        (found,) = classifier.predict(np.full((32, 32, 3), 200, np.uint8))
        scores = {each.label: each.probability for each in found.scores}
    assert set(found.labels or ()) == {
        label for label, least in zip(LABELS, (0.1, 0.5, 0.9), strict=True) if scores[label] >= least
    }


def test_what_predicts_one_label_is_not_made_to_predict_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    given = write(tmp_path, "Softmax")
    Path("odd.json").write_text('{"sea": 0.4}')
    for code, message, *arguments in (
        (2, "ends in a softmax, which has one label predicted; leave --multi-label out", *given, "--multi-label"),
        (2, "--thresholds is for --multi-label", *given, "--thresholds", "0.4"),
        (2, "--multi-label is for own --weights", "-m", "test_resnet", "--multi-label"),
    ):
        assert run(["export", *arguments]) == code
        shown = capsys.readouterr()
        assert message in shown.err and len(shown.err.strip().splitlines()) == 1, shown.err


def test_thresholds_are_probabilities_of_known_labels(tmp_path: Path) -> None:
    assert read_thresholds(None, LABELS) == (0.5, 0.5, 0.5) and read_thresholds("0.3", LABELS) == (0.3, 0.3, 0.3)
    for number in ("1.5", "-0.1", "nan"):
        with pytest.raises(UsageError, match="a threshold is a probability from 0 to 1"):
            read_thresholds(number, LABELS)
    place = tmp_path / "least.json"
    for content, error, message in (
        ('{"sea": 0.4}', UsageError, "'sea' is none of the 3 labels, such as 'leaf'"),
        ('{"sky": 2}', UsageError, "'sky': a threshold is a probability from 0 to 1, found 2"),
        ('{"sky": "high"}', DataError, "wanted a JSON object of a number for each label"),
        ("[0.1]", DataError, "wanted a JSON object of a number for each label"),
        ("{", DataError, "not JSON"),
    ):
        place.write_text(content)
        with pytest.raises(error, match=message):
            read_thresholds(str(place), LABELS)
    with pytest.raises(DataError, match="takes a number from 0 to 1 or a JSON file"):
        read_thresholds(str(tmp_path / "missing.json"), LABELS)
    (tmp_path / "long.json").write_text('{"cat": 1%s}' % ("0" * 400))
    with pytest.raises(DataError, match="a number of 401 digits"):
        read_thresholds(str(tmp_path / "long.json"), LABELS)
