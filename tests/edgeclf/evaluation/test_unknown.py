"""Images of no class: an operating point finds them, `eval --unknown` says how many, and bad folders are refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import tiny_features
from PIL import Image

from edgeclf.cli import run
from edgeclf.data.split import open_data
from edgeclf.evaluation.operating_point import with_operating_point
from edgeclf.evaluation.report import evaluate_bundle
from edgeclf.evaluation.thresholds import Wanted, fit_operating_point
from edgeclf.evaluation.unknown import read_unknown
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.classifier import Classifier
from edgeclf_runtime.errors import DataError, UsageError
from edgeclf_runtime.progress import SILENT


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to stand in, with a bundle, labelled noise, and grey images of no class."""
    monkeypatch.chdir(tmp_path)
    tiny.build(tmp_path / "linear")
    random = np.random.default_rng(0)
    for number in range(60):
        folder = tmp_path / "views" / tiny.LABELS[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (9, 9, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    (tmp_path / "grey").mkdir()
    for number in range(12):
        Image.new("RGB", (16, 16), (number, number, number)).save(tmp_path / "grey" / f"{number}.png")
    return tmp_path


@pytest.mark.usefixtures("without_plots")
def test_an_operating_point_for_unknown_images_is_kept_in_the_bundle_measured_and_honoured(
    here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = [
        "eval",
        "linear",
        "views",
        "--operating-point",
        "unknown=0.34",
        "--unknown",
        "grey",
        "--explain",
        "--json",
    ]
    assert run(command) == 0
    shown = capfd.readouterr()
    assert "thresholds for unknown=0.34 on" in shown.err and "stored in linear-unknown0.34" in shown.err
    report = json.loads(shown.out)["report"]
    made = Bundle.open("linear-unknown0.34")
    energy = made.manifest.thresholds.energy
    assert energy is not None and energy.false_alarms == 0.34
    assert (report["unknown"]["images"], report["unknown"]["known_images"]) == (12, report["evaluation"]["images"])
    assert report["unknown"]["auroc"] == pytest.approx(auroc_by_hand(made, here))
    assert report["unknown"]["false_alarms"] == pytest.approx(1 - report["answered"])
    with Classifier.open(made) as classifier:
        found = [each.unknown_by for each in classifier.predict(here / "grey")]
    assert report["unknown"]["missed"] == pytest.approx(found.count(None) / 12)
    assert run(["predict", "linear-unknown0.34", "grey", "views", "--top", "1"]) == 0
    assert "like no class that it knows" in capfd.readouterr().out
    assert run(["inspect", "linear-unknown0.34"]) == 0
    assert "false alarms 34.0%" in capfd.readouterr().out
    assert run(["verify", "linear-unknown0.34", "--json"]) == 0
    check_explained(report, here / "evals" / "linear-unknown0.34-test")


def test_features_are_a_second_rule_within_the_same_share_of_false_alarms(
    here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tiny_features.build(here / "featured", below=None)
    command = ["eval", "featured", "views", "--operating-point", "unknown=0.34", "--unknown", "grey", "--json"]
    assert run([*command, "--split", "val"]) == 0
    report = json.loads(capfd.readouterr().out)["report"]
    thresholds = Bundle.open("featured-unknown0.34").manifest.thresholds
    assert thresholds.energy is not None
    assert thresholds.features is not None
    assert report["unknown"]["false_alarms"] <= 0.34 == thresholds.features.false_alarms
    assert report["unknown"]["auroc_of_features"] == pytest.approx(1 / 12)  # grey is like a photograph, black is not
    assert report["unknown"]["auroc_of_features_interval"]["high"] >= report["unknown"]["auroc_of_features"]
    with Classifier.open("featured-unknown0.34") as classifier:
        found = [each.unknown_by for each in classifier.predict(here / "grey")]
    assert report["unknown"]["missed"] == pytest.approx(found.count(None) / 12)
    assert run(["verify", "featured-unknown0.34"]) == 0
    assert "the reference's, and its own" in capfd.readouterr().out
    assert run(["predict", "featured-unknown0.34", "grey/3.png", "--nearest", "2"]) == 0
    shown = capfd.readouterr().out
    assert shown.count("  near ") == 2
    assert "train/" in shown
    assert run(["predict", "featured-unknown0.34", "grey/3.png", "--nearest", "2", "--top", "1"]) == 2
    assert run(["predict", "linear", "grey/3.png", "--nearest", "2"]) == 3
    assert "edgeclf export RUN --features --nearest-images 2000" in capfd.readouterr().err
    assert run(["inspect", "featured-unknown0.34"]) == 0
    assert "class means of 3 training images; an index" in capfd.readouterr().out


def check_explained(report: Any, folder: Path) -> None:
    """The surest mistakes have two pictures each, and stand on the page."""
    assert [each["path"] for each in report["explained"]] == [each["path"] for each in report["worst"][:8]]
    assert [each["predicted"]["label"] for each in report["explained"]] == [
        each["answer"] for each in report["worst"][:8]
    ]
    assert [each["right"]["label"] for each in report["explained"]] == [each["label"] for each in report["worst"][:8]]
    pictures = [name for each in report["explained"] for name in each["pictures"]]
    assert pictures and all((folder / name).read_bytes().startswith(b"\x89PNG") for name in pictures)
    assert "Why they are wrong" in (folder / "report.html").read_text()


def auroc_by_hand(bundle: Bundle, here: Path) -> float:
    """Over all pairs of a grey image and a test image, how often the grey one has less energy."""
    tests = [image.path for image in open_data(here / "views").of("test")]
    with Classifier.open(bundle) as classifier:
        grey = np.array([each.energy for each in classifier.predict(here / "grey")])
        known = np.array([each.energy for each in classifier.predict(tests)])
    less = grey[:, np.newaxis] < known
    return float((less + (grey[:, np.newaxis] == known) / 2).mean())


def test_without_thresholds_nothing_is_unknown_but_the_energies_are_compared(here: Path) -> None:
    strangers = read_unknown(here / "grey", SILENT)
    found = evaluate_bundle(Bundle.open("linear"), open_data(here / "views"), unknown=strangers).unknown
    assert found is not None and found.missed is None and found.false_alarms is None
    assert 0 <= found.auroc <= 1 and found.auroc_interval is not None


def test_images_that_are_labelled_and_of_no_class_at_once_are_refused_before_test_images_are_counted(
    here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(next((here / "views" / "sky").iterdir()), here / "grey" / "twin.png")
    assert run(["eval", "linear", "views", "--unknown", "grey"]) == DataError.exit_code
    assert "1 image of 13 are among the labelled images, such as grey/twin.png" in capfd.readouterr().err
    assert not Bundle.open("linear").sidecar.exists()


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--unknown", "missing"], 2, "--unknown is a folder of images of none of the classes, found missing"),
        (["--unknown", "empty"], 3, "no images found in empty"),
        (["--operating-point", "unknown=0.7"], 2, "above 0 and below 0.5, found 0.7"),
        (["--operating-point", "unknown=0.1", "--per-class"], 2, "leave out --per-class"),
        (["--operating-point", "strange=0.1"], 2, "precision, recall, unknown or f1, found 'strange'"),
    ],
)
def test_what_can_not_be_measured_is_refused_in_a_line(
    options: list[str], code: int, words: str, here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (here / "empty").mkdir()
    assert run(["eval", "linear", "views", *options]) == code
    assert words in capfd.readouterr().err


def test_margins_have_no_energy_and_that_is_reported_before_any_image_is_read(here: Path) -> None:
    margins = tiny.build(here / "svm", scores="margin")
    strangers = read_unknown(here / "grey", SILENT)
    with pytest.raises(UsageError, match="margins, which have no energy"):
        evaluate_bundle(margins, open_data(here / "views"), unknown=strangers)
    assert not margins.sidecar.exists()
    with pytest.raises(UsageError, match="margins, which have no energy"):
        fit_operating_point(np.eye(3), np.arange(3), Wanted("unknown", 0.1), scores="margin", temperature=1.0)


def test_an_energy_threshold_and_one_of_the_score_stand_side_by_side(here: Path) -> None:
    data = open_data(here / "views")
    first, _ = with_operating_point(Bundle.open("linear"), data, Wanted("unknown", 0.2))
    both, _ = with_operating_point(first, data, Wanted("recall", 0.1))
    assert first.manifest.thresholds.unknown_below is None is not first.manifest.thresholds.energy
    assert both.manifest.thresholds.energy == first.manifest.thresholds.energy
    assert both.manifest.thresholds.unknown_below is not None
