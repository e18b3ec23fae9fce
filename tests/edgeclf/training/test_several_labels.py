"""Several labels an image from a split to a report: learnt, resumed bit for bit, evaluated; and what does not fit."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from sklearn.metrics import average_precision_score, f1_score

from edgeclf.cli import run as cli_run
from edgeclf.data.split_file import save_split
from edgeclf.evaluation.label_thresholds import BEST_F1, fit_label_thresholds
from edgeclf.evaluation.report import read_evaluation_report
from edgeclf.evaluation.thresholds import Wanted, parse_wanted
from edgeclf.listing import list_folder
from edgeclf.training.config import TrainConfig
from edgeclf.training.evaluate import evaluate
from edgeclf.training.evaluate_options import EvaluateOptions
from edgeclf.training.from_paths import resume_training
from edgeclf.training.lr_find import find_lr
from edgeclf.training.run.run import Run
from edgeclf.training.teacher_gain import untaught_folder
from edgeclf.training.train import resume, train
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.classifier import Classifier
from edgeclf_runtime.deploy.verify import verify
from edgeclf_runtime.errors import DataError, UsageError
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.metrics.multilabel import MultiLabelEvaluation

Make = Callable[..., TrainConfig]


@pytest.fixture
def run(tagger: Run) -> Run:
    return tagger


def test_labels_are_learnt_and_the_run_knows_its_task(run: Run, tags: DataSplit) -> None:
    best = run.outcome().scores["val_map"]
    assert best == max(line["val_map"] for line in run.history()) and best >= 0.9
    assert run.data().digest == tags.digest and run.data().multi_label
    thresholds = run.outcome().thresholds.per_class
    assert thresholds is not None and all(0 < each < 1 for each in thresholds)
    assert (run.path / "curves.png").stat().st_size > 1000
    assert list_folder(run.path)[0].accuracy == f"mAP {best:.3f} (validation, selected on it)"


@pytest.mark.parametrize(
    "stop_after", [pytest.param(1, marks=pytest.mark.check), 4]
)  # in the head's phase, and in the network's
def test_an_interrupted_training_goes_on_bit_for_bit(
    stop_after: int, config: Make, tags: DataSplit, recorder: Any, tmp_path: Path
) -> None:
    changes = {"class_weights": "balanced", "augment": "strong", "select": "macro-f1"}
    whole = train(config(**changes), tags, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(config(**changes), tags, tmp_path / "parts", recorder(stop_after=stop_after))
    found = resume(tmp_path / "parts")
    assert all(torch.equal(tensor, found.weights()[name]) for name, tensor in whole.weights().items())
    assert found.outcome().thresholds == whole.outcome().thresholds


def test_an_evaluation_has_the_figures_of_scikit_learn_at_the_thresholds_of_the_run(
    run: Run, tmp_path: Path, plots: None
) -> None:
    options = EvaluateOptions(split="val", operating_point="recall=0.8", output=tmp_path / "report")
    found = evaluate(run.path, options=options)
    figures, images = found.report.evaluation, run.data().of("val")
    assert isinstance(figures, MultiLabelEvaluation)
    exportable = run.exportable(several_labels="known")
    logits = exportable.run_reference(np.stack([image.load(exportable.pixels) for image in images]))
    targets = np.array([[label in (image.labels or ()) for label in exportable.labels] for image in images])
    thresholds = run.outcome().thresholds.per_class
    tempered = logits.astype(np.float64) / run.outcome().temperature
    predicted = 1 / (1 + np.exp(-tempered)) >= np.array(thresholds)
    assert figures.mean_average_precision == pytest.approx(average_precision_score(targets, logits))
    assert figures.macro_f1 == pytest.approx(f1_score(targets, predicted, average="macro"))
    assert all(each.recall is not None and each.recall >= 0.8 for each in figures.per_label)
    assert found.report.selected_on == len(images)
    document = json.loads((tmp_path / "report" / "report.json").read_text())
    assert document["kind"] == "multi-label evaluation" and len(document["curves"]) == 3
    assert read_evaluation_report(tmp_path / "report" / "report.json") == found.report
    page = (tmp_path / "report" / "report.html").read_text()
    assert "mAP" in page and "Hamming loss" in page and page.count("<img") >= 1


def test_a_student_learns_from_the_probabilities_of_its_teacher_and_the_rate_is_found_for_several_labels(
    run: Run, config: Make, tags: DataSplit, tmp_path: Path
) -> None:
    taught = {"teacher": str(run.path), "teacher_share": 1.0, "augment": "none", "epochs": 2}
    first, second = (train(config(**taught), tags, tmp_path / name) for name in ("first", "second"))
    teacher = first.teacher()
    assert teacher is not None and teacher.info.mean_average_precision == run.outcome().scores["val_map"]
    assert all(torch.equal(tensor, second.weights()[name]) for name, tensor in first.weights().items())
    gain = resume_training(first.path, compare="val").gain
    assert gain is not None and gain.figure == "mAP" and gain.images == len(tags.of("val"))
    untaught = Run(untaught_folder(first.path))
    assert gain.value == first.outcome().scores["val_map"]
    assert gain.value_without == untaught.outcome().scores["val_map"]
    assert gain.points == pytest.approx(100 * (gain.value - gain.value_without))
    assert "points of mAP" in str(gain) and '"map_without"' in (first.path / "teacher_gain.json").read_text()
    assert any(not torch.equal(tensor, untaught.weights()[name]) for name, tensor in first.weights().items())
    found = find_lr(config(strategy="full"), tags, steps=20, passes=1)
    assert found.losses and found.losses[0] == pytest.approx(np.log(2), abs=0.35)


def test_thresholds_reach_what_is_wanted_of_each_label() -> None:
    p = np.array([[0.9, 0.6], [0.8, 0.5], [0.7, 0.4], [0.2, 0.3], [0.1, 0.2]])
    targets = np.array([[1, 0], [0, 0], [1, 0], [0, 0], [0, 0]], dtype=np.float32)
    for wanted, value in ((BEST_F1, 0.45), (Wanted("precision", 0.9), 0.85), (Wanted("recall", 0.6), 0.45)):
        found = fit_label_thresholds(p, targets, ("a", "never"), wanted)
        assert found.values == (pytest.approx(value), 0.5) and found.unseen == ("never",)
    below = fit_label_thresholds(p, 1 - targets, ("a", "b"), Wanted("precision", 0.9))
    assert below.missed == ("a",) and below.values[0] > 0.9 and below.few == (("a", 3), ("b", 5))
    assert str(parse_wanted("f1")) == "f1"
    with pytest.raises(UsageError, match=r"or f1, found 'f1=0\.9'"):
        parse_wanted("f1=0.9")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss": "focal"}, "--loss focal is for one label an image, and these have several"),
        ({"select": "top-1"}, "--select-metric top-1 is for one label an image"),
        ({"loss": "asymmetric", "label_smoothing": 0.1}, "--label-smoothing 0.1 beside --loss asymmetric"),
        ({"loss": "asymmetric", "class_weights": "balanced"}, "--class-weights balanced beside --loss asymmetric"),
    ],
)
def test_options_that_do_not_fit_are_refused_in_one_sentence(
    changes: dict[str, Any], message: str, config: Make, tags: DataSplit, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        train(config(**changes), tags, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_training_starts_only_where_some_validation_image_has_a_label(
    config: Make, tags: DataSplit, tmp_path: Path
) -> None:
    images = tuple(replace(image, labels=()) if image.split == "val" else image for image in tags.images)
    with pytest.raises(DataError, match="no validation image has any label"):
        train(config(), replace(tags, images=images), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("changes", [{"loss": "asymmetric"}, {"select": "map"}])
def test_options_for_several_labels_are_refused_for_one(
    changes: dict[str, Any], config: Make, data: DataSplit, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="is for several labels an image, and these have one"):
        train(config(**changes), data, tmp_path / "run")


def test_tasks_are_not_mixed(
    run: Run, tags: DataSplit, discs: Path, teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_split(tags, tmp_path / "split.json")
    split, labels = str(tmp_path / "split.json"), str(run.path)
    quick = ("-m", "test_resnet", "--weights", "random", "--img-size", "32", "--device", "cpu")
    for message, *arguments in (
        ("predicts one label an image", "train", split, *quick, "--teacher", str(teacher), "--name", "taught"),
        ("predicts several labels", "train", str(discs), *quick, "--teacher", labels, "--name", "taught"),
        ("has one label an image", "eval", labels, str(discs), "-o", str(tmp_path / "mixed")),
        ("has several labels an image", "eval", str(teacher), split, "-o", str(tmp_path / "mixed")),
    ):
        code, shown = cli_run(arguments), capsys.readouterr()
        assert (code, shown.out) == (2, ""), (arguments, shown.err)
        lines = [line for line in shown.err.splitlines() if not line.startswith("hashes of")]
        assert len(lines) == 1 and message in lines[0], (arguments, shown.err)


def test_images_like_none_of_any_label_are_found_by_energy_and_features_and_mistakes_are_explained(
    run: Run, tmp_path: Path, plots: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeclf.evaluation.mistakes.MOST", 2)
    save_split(run.data(), tmp_path / "split.json")
    split, strange, place = str(tmp_path / "split.json"), tmp_path / "strange", str(tmp_path / "run-onnx-fp32")
    strange.mkdir()
    for level in range(0, 240, 20):
        Image.new("RGB", (48, 48), (level, 255 - level, level)).save(strange / f"{level}.png")
    options = ("--features", "--nearest-images", "9", "-o", str(tmp_path))
    assert cli_run(["export", str(run.path), "-t", "onnx", *options]) == 0
    capsys.readouterr()
    with_unknown = ("--operating-point", "unknown=0.25", "--unknown", str(strange), "--split", "val", "--json")
    assert cli_run(["eval", place, split, *with_unknown, "--explain", "-o", str(tmp_path / "report")]) == 0
    report = json.loads(capsys.readouterr().out)["report"]
    made = Bundle.open(f"{place}-unknown0.25")
    assert made.manifest.thresholds.per_class == run.outcome().thresholds.per_class
    assert made.manifest.thresholds.energy is not None is not made.manifest.thresholds.features
    found, known = report["unknown"], run.data().of("val")
    assert (found["images"], found["known_images"]) == (12, len(known))
    assert found["known_without_label"] == sum(not image.labels for image in known)
    assert found["false_alarms"] == pytest.approx(1 - report["answered"]) and found["false_alarms"] <= 0.25
    with Classifier.open(made) as classifier:
        predicted = list(classifier.predict(strange))
        near = next(classifier.predict(known[0].path, nearest=3)).nearest
    assert found["missed"] == pytest.approx(sum(bool(each.labels) for each in predicted) / 12)
    assert {each.label for each in predicted} == {None, "unknown"} - ({None} if found["missed"] == 0 else set())
    assert len(near) == 3 and {part for each in near for part in each.label.split("|")} <= {*run.data().classes, ""}
    assert verify(made).verdict == "pass"
    for each, mistake in zip(report["explained"], report["worst"], strict=False):
        assert each["predicted"]["label"] == mistake["decided"] and each["right"] is None and len(each["pictures"]) == 1
        assert mistake["answer"].endswith(mistake["decided"])


def test_a_bundle_is_proven_verified_and_evaluated_as_the_run_is(
    run: Run, discs: Path, tmp_path: Path, plots: None, capsys: pytest.CaptureFixture[str]
) -> None:
    save_split(run.data(), tmp_path / "split.json")
    targets = ("-t", "onnx", "-t", "openvino")
    assert cli_run(["export", str(run.path), *targets, "-o", str(tmp_path / "bundles")]) == 0
    assert "label agreement" in capsys.readouterr().out
    wanted = evaluate(run.path, options=EvaluateOptions(split="val", output=tmp_path / "of-run")).report.evaluation
    for place in sorted((tmp_path / "bundles").iterdir()):
        bundle = Bundle.open(place)
        manifest, proof = bundle.manifest, bundle.manifest.proof
        assert manifest.multi_label and manifest.thresholds == run.outcome().thresholds
        assert (
            proof is not None and proof.verdict == "pass" and proof.comparison.decisions == 3 * proof.comparison.images
        )
        assert proof.comparison.mean_average_precision == 1.0 and verify(bundle).verdict == "pass"
        options = EvaluateOptions(split="val", output=tmp_path / f"of-{place.name}")
        found = evaluate(place, tmp_path / "split.json", options).report.evaluation
        assert isinstance(found, MultiLabelEvaluation) and isinstance(wanted, MultiLabelEvaluation)
        assert found.mean_average_precision == pytest.approx(wanted.mean_average_precision)
        assert (found.exact_match, found.macro_f1) == pytest.approx((wanted.exact_match, wanted.macro_f1))
    place, output = str(tmp_path / "bundles" / "run-onnx-fp32"), str(tmp_path / "mixed")
    one = str(tiny.build(tmp_path / "one").path)
    for code, message, *arguments in (
        (2, f"has one label an image, and {place} predicts several labels", "eval", place, str(discs)),
        (2, f"has several labels an image, and {one} predicts one label", "eval", one, str(tmp_path / "split.json")),
    ):
        assert cli_run([*arguments, "-o", output]) == code, arguments
        shown = capsys.readouterr()
        assert message in shown.err and len(shown.err.strip().splitlines()) == 1, shown.err
    options = EvaluateOptions(split="val", operating_point="recall=0.8", output=tmp_path / "chosen")
    chosen = evaluate(place, tmp_path / "split.json", options)
    again = Bundle.open(chosen.subject)
    assert again.manifest.thresholds != run.outcome().thresholds and verify(again).verdict == "pass"
