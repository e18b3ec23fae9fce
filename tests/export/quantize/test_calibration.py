"""Calibration images are real, balanced, the same every time, and never evaluation images."""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from patches import LABELS, PATCH_PIXELS, VAL

from edgeclf_export.exportable import Exportable
from edgeclf_export.quantize.calibration import choose, load_calibration, part
from edgeclf_export.quantize.calibration_data import Int8Options, load_calibration_data
from edgeclf_export.quantize.few_images import what_is_learned_from
from edgeclf_runtime.bundle.quantization_report import AccuracyGate
from edgeclf_runtime.errors import DataError, UsageError
from edgeclf_runtime.images.labelled import LabelledImage, read_folder
from edgeclf_runtime.images.pixels import Pixels
from edgeclf_runtime.progress import SILENT, Progress

Patches = dict[str, tuple[LabelledImage, ...]]


def test_classes_take_turns(patches: Patches) -> None:
    chosen = choose(patches["train"], 42, seed=0)
    assert sorted(Counter(image.label for image in chosen).values()) == [10, 10, 11, 11]


def test_the_choice_follows_from_hashes_and_seed_alone(patches: Patches) -> None:
    first = choose(patches["train"], 20, seed=3)
    elsewhere = [replace(image, root=Path("moved"), name=image.path.name) for image in reversed(patches["train"])]
    assert [image.sha256 for image in choose(elsewhere, 20, seed=3)] == [image.sha256 for image in first]
    assert {image.sha256 for image in choose(patches["train"], 20, seed=4)} != {image.sha256 for image in first}


def test_pixels_are_those_of_the_bundle(patches: Patches) -> None:
    found = load_calibration(patches["train"], (), PATCH_PIXELS, called="training", most=5)
    wanted = np.stack([PATCH_PIXELS.load(path)[0] for path in found.files])
    assert np.array_equal(found.pixels, wanted) and len(found.files) == 5


def test_a_copy_of_an_evaluation_image_never_calibrates(patches: Patches, tmp_path: Path) -> None:
    copy = tmp_path / "renamed.png"
    shutil.copy(patches["val"][0].path, copy)
    smuggled = LabelledImage(tmp_path, copy.name, LABELS[:1], hashlib.sha256(copy.read_bytes()).hexdigest())
    evaluation = {image.sha256 for image in patches["val"]}
    found = load_calibration((*patches["train"], smuggled), evaluation, PATCH_PIXELS, called="training")
    assert copy not in found.files
    assert any("1 of" in warning and "left out" in warning for warning in found.warnings)


def test_only_evaluation_images_is_an_error(patches: Patches) -> None:
    evaluation = {image.sha256 for image in patches["val"]}
    with pytest.raises(DataError, match="are evaluation images too"):
        load_calibration(patches["val"], evaluation, PATCH_PIXELS, called="calib")


def test_no_image_is_an_error_and_random_ones_never_take_its_place(trained: Exportable, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no images to calibrate on"):
        load_calibration((), (), PATCH_PIXELS, called="calib")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no images"):
        load_calibration_data(trained, Int8Options(calib_data=tmp_path / "empty"), SILENT)


def test_few_images_warn(patches: Patches) -> None:
    few = load_calibration(patches["train"], (), PATCH_PIXELS, called="training", most=8)
    assert any("only 8 calibration images" in warning for warning in few.warnings)
    assert load_calibration(patches["train"], (), PATCH_PIXELS, called="training", most=80).warnings == ()


def test_broken_images_are_named_together(patches: Patches, tmp_path: Path) -> None:
    broken = []
    for n in range(7):
        (tmp_path / f"broken{n}.png").write_bytes(b"no image %d" % n)
        digest = hashlib.sha256(b"no image %d" % n).hexdigest()
        broken.append(LabelledImage(tmp_path, f"broken{n}.png", LABELS[:1], digest))
    with pytest.raises(DataError) as found:
        load_calibration((*broken, *patches["train"]), (), PATCH_PIXELS, called="calib")
    line = str(found.value)
    assert line.count(".png: ") == 5 and "; and 2 more; take them out: they are among the calibration images" in line


def test_an_image_that_changed_since_the_split_is_refused(patches: Patches) -> None:
    other = replace(patches["train"][0], sha256="0" * 64)
    with pytest.raises(DataError, match="changed since"):
        load_calibration((other,), (), PATCH_PIXELS, called="calib")


def test_a_run_calibrates_on_training_images_and_evaluates_on_validation_images(
    trained: Exportable, patches: Patches
) -> None:
    calibration_data = load_calibration_data(trained, Int8Options(calib_images=30, gate=AccuracyGate(5.0)), SILENT)
    assert set(calibration_data.calibration.files) <= {image.path for image in patches["train"]}
    assert (
        len(calibration_data.pixels) == VAL * len(LABELS)
        and "validation images" in calibration_data.evaluation_set.source
    )


def test_a_folder_is_split_so_that_no_image_both_calibrates_and_evaluates(
    trained: Exportable, patches: Patches
) -> None:
    folder = patches["train"][0].path.parents[1]
    alone = replace(trained, data=None)
    calibration_data = load_calibration_data(alone, Int8Options(calib_data=folder, gate=AccuracyGate(5.0)), SILENT)
    evaluation = {PATCH_PIXELS.load(path)[0].tobytes() for path in calibration_data.calibration.files}
    assert not evaluation & {image.tobytes() for image in calibration_data.pixels}
    assert calibration_data.evaluation_set.labels is not None and calibration_data.open_test is None


def test_groups_and_copies_stay_together() -> None:
    images = [LabelledImage(Path(), str(i), ("cat",), f"{i % 5}", f"patient {i % 5}") for i in range(20)]
    calibration, evaluation = part(images, seed=0)
    assert not {image.group for image in calibration} & {image.group for image in evaluation}


class Notes(Progress):
    def __init__(self) -> None:
        self.all: list[str] = []

    def note(self, sentence: str, figures: Mapping[str, Any] | None = None) -> None:
        self.all.append(sentence)


def test_images_that_are_evaluated_by_agreement_are_of_all_classes(trained: Exportable, patches: Patches) -> None:
    labels = {PATCH_PIXELS.load(image.path)[0].tobytes(): image.label for image in patches["train"]}
    data = load_calibration_data(trained, Int8Options(calib_images=40, gate=AccuracyGate(0.8)), SILENT)
    others = Counter(labels[image.tobytes()] for image in data.pixels[VAL * len(LABELS) :])
    assert set(others) == set(LABELS) and max(others.values()) - min(others.values()) <= 1


@pytest.mark.parametrize(
    ("points", "learned", "evaluated", "note"),
    [
        (5.0, 160, 0, "weights learn from 160 images that evaluate nothing"),
        (0.8, 64, 96, "weights learn from 64 images that evaluate nothing"),
        (0.5, 0, 130, "nothing is learned, since that would have to pass the gate, and 370 images can't show it"),
    ],
)
def test_weights_learn_from_half_of_few_images_and_not_at_all_where_all_are_too_few_to_pass(
    points: float, learned: int, evaluated: int, note: str, trained: Exportable, patches: Patches
) -> None:
    notes = Notes()
    options = Int8Options(calib_images=30, gate=AccuracyGate(points), learn_minutes=1.0)
    data = load_calibration_data(trained, options, notes)
    assert len(data.learning) == learned and len(data.pixels) == VAL * len(LABELS) + evaluated
    assert note in notes.all[-1] and "--learn-int8" in notes.all[-1]
    learning = {PATCH_PIXELS.load(image.path)[0].tobytes() for image in data.learning}
    assert not learning & {image.tobytes() for image in data.pixels}


def test_less_than_64_images_to_learn_from_are_said_to_be_few() -> None:
    assert what_is_learned_from(64, 100).endswith("64 images that evaluate nothing")
    advice = what_is_learned_from(63, 100)
    assert "64 or more should be there" in advice and "larger --max-drop, which takes fewer to evaluate" in advice
    assert "--max-drop" not in what_is_learned_from(63, 0)


def test_without_a_run_and_without_a_folder_it_says_what_to_give(trained: Exportable) -> None:
    with pytest.raises(UsageError, match="--calib-data"):
        load_calibration_data(replace(trained, data=None), Int8Options(), SILENT)


def test_folders_named_half_like_labels_are_refused(patches: Patches, tmp_path: Path) -> None:
    for name in ("astronaut", "stranger"):
        (tmp_path / name).mkdir()
        shutil.copy(patches["val"][0].path, tmp_path / name)
    with pytest.raises(DataError, match="'stranger' is no label"):
        read_folder(tmp_path, LABELS)


def test_calibration_does_not_change_the_pixel_contract(patches: Patches) -> None:
    other = Pixels("exact", (16, 16), (16, 16))
    assert load_calibration(patches["train"], (), other, called="training", most=2).pixels.shape == (2, 16, 16, 3)
