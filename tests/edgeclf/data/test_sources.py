"""What counts as a data set, and the one line for what does not."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeclf.data.sources import read_dataset
from edgeclf_runtime.errors import DataError, UsageError
from edgeclf_runtime.images.data_split import DataSplit

MakeFolder = Callable[[dict[str, int]], Path]


def labels(dataset: DataSplit) -> dict[str, int]:
    return dict(Counter(sample.label for sample in dataset.images))


def refusal(source: Path, kind: type[Exception] = DataError) -> str:
    with pytest.raises(kind) as caught:
        read_dataset(source)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_each_folder_is_a_class(make_folder: MakeFolder) -> None:
    root = make_folder({"dog": 2, "cat/indoors": 1, "cat/outdoors": 2})
    found = read_dataset(root)
    assert found.classes == ("cat", "dog")
    assert labels(found) == {"cat": 3, "dog": 2}
    assert {sample.split for sample in found.images} == {None}
    assert found.images[0].name == "cat/indoors/000.png"


@pytest.mark.parametrize("val", ["val", "valid", "validation", "VAL"])
def test_split_folders_and_their_other_names(make_folder: MakeFolder, val: str) -> None:
    root = make_folder({"train/cat": 2, "train/dog": 2, f"{val}/cat": 1, f"{val}/dog": 1, "test/dog": 1})
    counted = Counter(sample.split for sample in read_dataset(root).images)
    assert counted == {"train": 4, "val": 2, "test": 1}


def test_classes_may_be_called_train_and_test(make_folder: MakeFolder) -> None:
    found = read_dataset(make_folder({"train": 2, "test": 1, "bus": 1}))
    assert found.classes == ("bus", "test", "train")
    assert {sample.split for sample in found.images} == {None}


def test_copies_of_other_programs_are_no_class_and_no_images(make_folder: MakeFolder) -> None:
    root = make_folder({"cat": 1, "dog": 1, "@eaDir": 1, "cat/@eaDir/000.png": 2, "dog/.ipynb_checkpoints": 1})
    found = read_dataset(root)
    assert labels(found) == {"cat": 1, "dog": 1}


def test_other_files_and_hidden_folders_are_counted_and_passed_over(make_folder: MakeFolder) -> None:
    root = make_folder({"cat": 1, "dog": 1, ".thumbnails/cat": 3, "__MACOSX/cat": 2})
    for name in ("notes.txt", "cat/.DS_Store", "cat/Thumbs.db", "dog/._000.png", "loose.jpg"):
        (root / name).write_bytes(b"")
    os.mkfifo(root / "cat" / "pipe.png")
    found = read_dataset(root)
    assert len(found.images) == 2
    assert found.passed_over == 8


def test_linked_class_folders_are_followed(make_folder: MakeFolder, tmp_path: Path) -> None:
    root = make_folder({"cat": 1, "dog": 2})
    shutil.move(root / "dog", tmp_path / "elsewhere")
    (root / "dog").symlink_to(tmp_path / "elsewhere")
    assert labels(read_dataset(root)) == {"cat": 1, "dog": 2}


def test_a_link_back_to_a_folder_above_is_named(make_folder: MakeFolder) -> None:
    root = make_folder({"cat": 1, "dog": 1})
    (root / "cat" / "again").symlink_to(root / "cat")
    assert "cat/again: a link back" in refusal(root)


def test_a_link_to_itself_is_no_folder(make_folder: MakeFolder) -> None:
    root = make_folder({"cat": 1, "dog": 1})
    (root / "loop").symlink_to(root / "loop")
    assert read_dataset(root).passed_over == 1


def test_an_empty_class_is_named(make_folder: MakeFolder) -> None:
    root = make_folder({"cat": 1, "dog": 1, "fox": 0})
    (root / "fox" / "readme.txt").write_text("soon")
    assert refusal(root) == f"no images of a class: {root / 'fox'} (1 other files); add some, or remove it"


def test_a_single_class_is_refused(make_folder: MakeFolder) -> None:
    assert "one class only, 'cat'" in refusal(make_folder({"cat": 3}))


@pytest.mark.parametrize(
    ("one", "other"),
    [("Cat", "cat"), ("café", "cafe\u0301"), ("straße", "STRASSE"), ("red fox", "red  fox"), ("İ", "i\u0307")],
)
def test_classes_that_differ_only_by_case_spaces_or_unicode_form_are_refused(
    make_folder: MakeFolder, one: str, other: str
) -> None:
    message = refusal(make_folder({one: 1, other: 1, "zebra": 1}))
    assert "differ only by case, spaces or Unicode form" in message
    assert ascii(one) in message and ascii(other) in message


def test_classes_across_splits_are_compared_too(make_folder: MakeFolder) -> None:
    assert "differ only" in refusal(make_folder({"train/cat": 1, "train/dog": 1, "val/Cat": 1}))


def test_a_class_name_that_is_not_utf8_is_refused(make_folder: MakeFolder) -> None:
    root = make_folder({"cat": 1, os.fsdecode(b"d\xffg"): 1})
    assert "is not UTF-8; rename it" in refusal(root)


def test_folders_beside_the_splits_are_refused(make_folder: MakeFolder) -> None:
    message = refusal(make_folder({"train/cat": 1, "train/dog": 1, "extra/cat": 1}))
    assert "'extra' beside the split folders train" in message


def test_a_split_without_class_folders_is_refused(make_folder: MakeFolder) -> None:
    message = refusal(make_folder({"train/cat": 1, "train/dog": 1, "test": 3}))
    assert "3 images without class folders" in message


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "no images in it" in refusal(tmp_path / "empty")


def test_images_without_class_folders_are_refused(make_folder: MakeFolder) -> None:
    assert "2 images lie directly in it" in refusal(_loose(make_folder))


def _loose(make_folder: MakeFolder) -> Path:
    root = make_folder({"cat": 2})
    for image in (root / "cat").iterdir():
        image.rename(root / image.name)
    (root / "cat").rmdir()
    return root


@pytest.mark.parametrize(("name", "message"), [("a.zip", "unpack it"), ("a.jpg", "give a folder or a CSV")])
def test_other_files_are_refused_as_a_source(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / name).write_bytes(b"PK")
    assert message in refusal(tmp_path / name)


def test_a_missing_source_is_a_usage_error(tmp_path: Path) -> None:
    assert "no such file or folder" in refusal(tmp_path / "photos", UsageError)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_class_folder_is_named(make_folder: MakeFolder) -> None:
    root = make_folder({"cat": 1, "dog": 1})
    (root / "dog").chmod(0)
    try:
        assert "dog: Permission denied" in refusal(root)
    finally:
        (root / "dog").chmod(0o755)
