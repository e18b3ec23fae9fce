"""Images to evaluate on: whole without splits, by their splits with some, by the training's where it knew them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgeclf.data.held_out import open_held_out
from edgeclf.data.split import open_data
from edgeclf.data.split_file import save_split
from edgeclf_runtime.errors import DataError

MakeFolder = Callable[[dict[str, int]], Path]


def test_a_folder_without_splits_is_taken_whole_whatever_the_seed(make_folder: MakeFolder) -> None:
    root = make_folder({"cat": 30, "dog": 10})
    found = open_held_out(root)
    assert found.origin == "whole" and len(found.data.of("test")) == 40 == len(found.data.images)
    assert open_held_out(root, seed=7).data.digest == found.data.digest


def test_held_out_images_may_have_classes_too_small_for_a_split(make_folder: MakeFolder) -> None:
    root = make_folder({"cat": 1, "dog": 2})
    assert len(open_held_out(root, trained_on=("0" * 64,)).data.of("test")) == 3
    with pytest.raises(DataError, match="too few"):
        open_data(root)


def test_a_folder_that_was_trained_on_has_the_trainings_split(make_folder: MakeFolder) -> None:
    root = make_folder({"cat": 20, "dog": 20})
    trained = open_data(root, seed=3)
    found = open_held_out(root, seed=3, trained_on=(trained.digest,))
    assert found.origin == "own" and found.data == trained
    assert open_held_out(root, seed=4, trained_on=(trained.digest,)).origin == "whole"


def test_images_that_a_run_knows_have_their_splits_in_it_wherever_they_lie(
    make_folder: MakeFolder, tmp_path: Path
) -> None:
    root = make_folder({"cat": 20, "dog": 20})
    trained = open_data(root, seed=3)
    known = {item.sha256: item.split for item in trained.images}
    moved = root.rename(tmp_path / "moved")
    found = open_held_out(moved, known=known)
    assert found.origin == "own" and found.data.digest == trained.digest
    (moved / "cat" / "new.png").write_bytes(b"another image")
    assert open_held_out(moved, known=known).origin == "whole"


def test_a_folder_of_test_images_alone_is_taken(make_folder: MakeFolder) -> None:
    root = make_folder({"test/cat": 4, "test/dog": 3})
    found = open_held_out(root)
    assert found.origin == "given" and len(found.data.of("test")) == 7
    with pytest.raises(DataError, match="no training images"):
        open_data(root)


def test_splits_of_the_source_are_kept(make_folder: MakeFolder, tmp_path: Path) -> None:
    root = make_folder({"train/cat": 8, "train/dog": 8, "val/cat": 2, "val/dog": 2, "test/cat": 5, "test/dog": 5})
    found = open_held_out(root)
    assert found.origin == "given" and found.data == open_data(root)
    save_split(found.data, tmp_path / "split.json")
    again = open_held_out(tmp_path / "split.json", trained_on=(found.data.digest,))
    assert again.origin == "own" and again.data == found.data


def test_a_table_of_test_images_alone_is_taken(make_folder: MakeFolder) -> None:
    root = make_folder({"cat": 1, "dog": 1})
    (root / "images.csv").write_text("path,label,split\ncat/000.png,cat,test\ndog/000.png,dog,test\n")
    assert len(open_held_out(root / "images.csv").data.of("test")) == 2


def test_classes_that_have_no_image_are_kept_where_the_models_classes_are_given(make_folder: MakeFolder) -> None:
    root = make_folder({"cat": 3})
    labels = ("ant", "cat", "dog")
    assert open_held_out(root, labels=labels).data.classes == labels
    with pytest.raises(DataError, match="one class only"):
        open_held_out(root)
    with pytest.raises(
        DataError, match=r"1 of its 1 classes are not among the model's 2: 'cat' \(the model has 'a', 'b'"
    ):
        open_held_out(root, labels=("a", "b"))


def test_where_thresholds_need_images_of_their_own_a_split_is_drawn(make_folder: MakeFolder) -> None:
    found = open_held_out(make_folder({"cat": 20, "dog": 20}), whole=False)
    assert found.origin == "drawn" and found.data.of("val") and len(found.data.of("test")) < 40
