"""A labelled image is read only as the file that was hashed; a model runs over many with errors apart."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny

from edgeclf_runtime.errors import DataError, ImageChanged, ImageError
from edgeclf_runtime.hashing import hash_file
from edgeclf_runtime.images.labelled import LabelledImage, class_numbers, read_folder
from edgeclf_runtime.images.pixels import Pixels
from edgeclf_runtime.images.predict import predict_images, prepare_images, strictly

PIXELS = Pixels("exact", (8, 8), (8, 8), "bilinear")


@pytest.fixture
def images(tmp_path: Path) -> list[LabelledImage]:
    """20 images of one grey level each, 0, 10, 20, …; numbers 3 and 4 are damaged, 7 has changed, 9 is gone."""
    found = []
    for number in range(20):
        path = tmp_path / f"{number:02}.png"
        tiny.Image.new("RGB", (8, 8), (10 * number,) * 3).save(path)
        if number in (3, 4):
            path.write_bytes(b"no image")
        found.append(LabelledImage(path.parent, path.name, ("even" if number % 2 == 0 else "odd",), hash_file(path)))
    found[7].path.write_bytes(found[6].path.read_bytes())
    found[9].path.unlink()
    return found


def test_a_file_that_changed_or_went_away_is_reported_with_one_error(images: list[LabelledImage]) -> None:
    assert images[0].read() == images[0].path.read_bytes()
    with pytest.raises(ImageChanged, match=r"^changed since its SHA-256 was taken; bring the old file back"):
        images[7].read()
    with pytest.raises(ImageChanged, match=r"^missing; it was there when its SHA-256 was taken"):
        images[9].read()
    assert replace(images[7], sha256="").read() == images[6].read()  # not hashed yet: nothing to compare with


def test_rows_come_in_order_and_what_can_not_be_read_keeps_its_place(images: list[LabelledImage]) -> None:
    batches = []

    def infer(batch: list[np.ndarray]) -> np.ndarray:
        batches.append(len(batch))
        assert threading.current_thread() is threading.main_thread()
        return np.stack(batch).mean(axis=(1, 2))

    found = list(predict_images(images, lambda image: image.load(PIXELS), infer, batch_size=4))
    assert [image for image, _ in found] == images
    assert [number for number, (_, row) in enumerate(found) if isinstance(row, ImageError)] == [3, 4, 7, 9]
    assert all(row[0] == 10 * number for number, (_, row) in enumerate(found) if not isinstance(row, ImageError))
    assert batches == [3, 2, 3, 4, 4]


def test_where_none_of_a_batch_can_be_read_nothing_is_inferred(images: list[LabelledImage]) -> None:
    def infer(batch: list[object]) -> np.ndarray:
        raise AssertionError("there is nothing to infer")

    found = list(predict_images(images[3:5], lambda image: image.load(PIXELS), infer))
    assert [type(row) for _, row in found] == [ImageError, ImageError]


def test_strictly_names_the_first_file_that_can_not_be_read(images: list[LabelledImage]) -> None:
    checked = strictly(prepare_images(images, LabelledImage.check), "take it out")
    with pytest.raises(DataError, match=r"03\.png: not an image.*; take it out$") as caught:
        list(checked)
    assert not isinstance(caught.value, ImageError)


def test_any_other_error_is_raised(images: list[LabelledImage]) -> None:
    with pytest.raises(ZeroDivisionError):
        list(prepare_images(images, lambda image: 1 // 0))


def test_labels_become_numbers_in_a_models_own_order(images: list[LabelledImage]) -> None:
    assert class_numbers(images[:3], ("odd", "even")).tolist() == [1, 0, 1]


def test_a_folder_whose_names_are_no_labels_has_images_that_nobody_labelled(tmp_path: Path) -> None:
    (tmp_path / "loose").mkdir()
    tiny.images()[0].save(tmp_path / "loose" / "a.png")
    (image,) = read_folder(tmp_path, ("cat", "dog"))
    assert image.labels is None and image.name == "loose/a.png"
    (image,) = read_folder(tmp_path, ("loose", "dog"))
    assert image.label == "loose"
