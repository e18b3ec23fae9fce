"""`eval` on held-out folders: the report names what was evaluated, and what was selected on it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny

from edgeclf.cli import run
from edgeclf.data.split import open_data
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.errors import DataError
from edgeclf_runtime.session import open_session

Crop = Callable[[str, Path, int, int], None]
pytestmark = pytest.mark.usefixtures("without_plots")
PHOTOGRAPHS = {"cat": "chelsea.png", "pagoda": "china.jpg", "petals": "flower.jpg"}


@pytest.fixture
def held_out(tmp_path: Path, crop: Crop) -> Path:
    """20 other crops of each of the photographs."""
    for label, photograph in PHOTOGRAPHS.items():
        crop(photograph, tmp_path / "held-out" / label, 20, 5)
    return tmp_path / "held-out"


def evaluated(capfd: pytest.CaptureFixture[str], *arguments: Any) -> tuple[dict[str, Any], str, str]:
    """Report, stdout and stderr of `edgeclf eval` with these arguments, which has to succeed."""
    folder = Path(str(arguments[1])).parent / "report"
    code = run(["eval", *map(str, arguments), "-o", str(folder), "--force"])
    shown = capfd.readouterr()
    assert code == 0, shown.err
    return json.loads((folder / "report.json").read_text()), shown.out, shown.err


def test_a_folder_without_splits_is_evaluated_whole_and_counts_as_test_images(
    bundle: Bundle, held_out: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    report, out, err = evaluated(capfd, bundle.path, held_out)
    assert "all 60 images of held-out, which has no splits; 3 classes" in out and "selected on" not in out
    assert "60 test images, use no. 1" in err
    assert (report["origin"], report["evaluation"]["images"], report["of_images"]) == ("whole", 60, 60)
    assert bundle.manifest.pixels is not None
    with open_session(bundle) as session:
        files = sorted(held_out.rglob("*.png"))
        margins = session(np.stack([bundle.manifest.pixels.load(path)[0] for path in files]))
    right = [
        bundle.manifest.labels[best] == path.parent.name for best, path in zip(margins.argmax(1), files, strict=True)
    ]
    assert report["evaluation"]["top1"] == pytest.approx(np.mean(right))
    again, out, err = evaluated(capfd, bundle.path, held_out, "--split", "all")
    assert again["evaluation"] == report["evaluation"] and "selected on" not in out and "use no. 2" in err


def test_the_data_of_the_training_keep_its_split_and_the_figure_says_so(
    bundle: Bundle, photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(photos, tmp_path / "photos")
    report, out, _ = evaluated(capfd, bundle.path, folder)
    assert "test images of photos: 18 images of 120 by the split that it was trained with; 3 classes" in out
    assert (report["origin"], report["other_data"]) == ("own", False)


def test_a_folder_of_test_images_alone_is_evaluated(
    bundle: Bundle, held_out: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "set").mkdir()
    held_out.rename(tmp_path / "set" / "test")
    _, out, err = evaluated(capfd, bundle.path, tmp_path / "set")
    assert "test images of set: 60 images by its own splits; 3 classes" in out
    assert "60 test images, use no." in err


def test_only_validation_images_of_the_own_split_are_reported_as_selected_on(
    photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from edgeclf_runtime.bundle.manifest import Provenance

    folder = Path(shutil.copytree(photos, tmp_path / "photos"))
    data = open_data(folder)
    origin = Provenance("linear", "by hand", "2026-01-02T03:04:05Z", {}, data_sha256=data.digest)
    own = tiny.build(tmp_path / "own", labels=data.classes, provenance=origin)
    foreign = tiny.build(tmp_path / "foreign", labels=data.classes)
    validation = len(data.of("val"))
    report, out, _ = evaluated(capfd, own.path, folder, "--split", "val")
    assert report["selected_on"] == validation and "(selected on these images" in out
    report, out, _ = evaluated(capfd, own.path, folder, "--split", "all")
    assert f"(selected on {validation} validation images among these" in out
    report, out, _ = evaluated(capfd, own.path, folder)
    assert report["selected_on"] == 0 and "selected on" not in out
    report, out, _ = evaluated(capfd, foreign.path, folder, "--split", "val")
    assert report["selected_on"] == 0 and "by a split drawn at random, since it had none" in out


def test_some_of_the_classes_are_evaluated_on_request_and_predictions_stay_among_all(
    bundle: Bundle, held_out: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    whole, _, _ = evaluated(capfd, bundle.path, held_out)
    shutil.rmtree(held_out / "petals")
    assert run(["eval", str(bundle.path), str(held_out), "-o", str(tmp_path / "r")]) == DataError.exit_code
    stderr = capfd.readouterr().err
    assert "only in the bundle photos-hog: 'petals'" in stderr and "--classes present evaluates on" in stderr
    report, out, _ = evaluated(capfd, bundle.path, held_out, "--classes", "present")
    assert "2 of 3 classes present, predictions among all 3" in out and report["classes_present"] == 2
    assert report["evaluation"]["confusion"][:2] == whole["evaluation"]["confusion"][:2]
    rows = np.array(whole["evaluation"]["confusion"])[:2]
    assert report["evaluation"]["top1"] == pytest.approx((rows[0, 0] + rows[1, 1]) / 40)


def test_a_folder_of_one_class_is_evaluated_on_request(
    bundle: Bundle, held_out: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("petals", "pagoda"):
        shutil.rmtree(held_out / name)
    report, out, _ = evaluated(capfd, bundle.path, held_out, "--classes", "present")
    assert "1 of 3 classes present" in out and report["evaluation"]["images"] == 20


@pytest.mark.parametrize("choice", ["present", "all"])
def test_a_folder_of_an_unknown_name_is_refused_with_the_difference(
    choice: str, bundle: Bundle, held_out: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (held_out / "petals").rename(held_out / "flower")
    arguments = ["eval", str(bundle.path), str(held_out), "--classes", choice, "-o", str(tmp_path / "r")]
    assert run(arguments) == DataError.exit_code
    assert "'flower'" in capfd.readouterr().err
    assert not bundle.sidecar.exists(), "no look is counted"


def test_other_choices_of_classes_are_refused(
    bundle: Bundle, held_out: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["eval", str(bundle.path), str(held_out), "--classes", "some"]) == 2
    assert "--classes takes no 'some'; choose one of all, present" in capfd.readouterr().err


def test_thresholds_are_still_chosen_on_other_images_than_those_evaluated(
    bundle: Bundle, held_out: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    report, out, err = evaluated(capfd, bundle.path, held_out, "--operating-point", "recall=0.5")
    assert (
        "by a split drawn at random, since it had none" in out and "on 9 validation images (selected on these)" in err
    )
    assert (report["evaluation"]["images"], report["of_images"]) == (9, 60)
