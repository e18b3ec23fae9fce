"""Splits: stratified, repeatable, without leaks, and checked when they are read again."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from edgeclf.data.assign import join_clusters, largest_remainder
from edgeclf.data.sources import read_dataset
from edgeclf.data.split import open_data, split_dataset
from edgeclf.data.split_file import load_split, save_split
from edgeclf_runtime.errors import DataError, GateError, UsageError
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.images.labelled import LabelledImage

MakeFolder = Callable[[dict[str, int]], Path]


def counts(manifest: DataSplit) -> dict[tuple[str, str], int]:
    return dict(Counter((item.split, item.label) for item in manifest.images))


def with_groups(dataset: DataSplit, group_of: Callable[[int], str | None]) -> DataSplit:
    return replace(dataset, images=tuple(replace(each, group=group_of(i)) for i, each in enumerate(dataset.images)))


@pytest.fixture
def manifest(make_folder: MakeFolder) -> DataSplit:
    return open_data(make_folder({"cat": 10, "dog": 20}))


@pytest.mark.parametrize(
    ("root", "path"),
    [("a\0b", "cat/0.png"), ("a" * 5000, "cat/0.png"), ("\ud800", "cat/0.png"), (None, "\ud800.png"), (None, "\0.png")],
)
def test_a_folder_or_an_image_that_no_system_can_name_is_one_line(
    manifest: DataSplit, root: str | None, path: str, tmp_path: Path
) -> None:
    save_split(manifest, tmp_path / "split.json")
    content = json.loads((tmp_path / "split.json").read_text())
    content["root"] = content["root"] if root is None else root
    content["items"][0]["path"] = path
    (tmp_path / "split.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="no longer a folder" if root else "does not stay under the root") as refused:
        load_split(tmp_path / "split.json")
    assert str(refused.value).encode()  # it can be printed


def test_each_class_keeps_its_shares(manifest: DataSplit) -> None:
    assert counts(manifest) == {
        ("train", "cat"): 7,
        ("val", "cat"): 2,
        ("test", "cat"): 1,
        ("train", "dog"): 14,
        ("val", "dog"): 3,
        ("test", "dog"): 3,
    }


def test_the_same_seed_gives_the_same_split_wherever_the_data_lie(manifest: DataSplit, tmp_path: Path) -> None:
    shutil.copytree(manifest.root, tmp_path / "moved")
    assert open_data(tmp_path / "moved").digest == manifest.digest
    assert open_data(tmp_path / "moved", seed=1).digest != manifest.digest


def test_the_split_is_that_of_the_first_release(tmp_path: Path) -> None:
    for label in "ab":
        (tmp_path / "data" / label).mkdir(parents=True)
        for number in range(5):
            (tmp_path / "data" / label / f"{number}.png").write_bytes(f"{label}{number}".encode())
    splits = [(item.name, item.split) for item in open_data(tmp_path / "data").images if item.split != "train"]
    assert splits == FIRST_RELEASE


FIRST_RELEASE = [("a/2.png", "val"), ("a/3.png", "test"), ("b/0.png", "test"), ("b/1.png", "val")]


def test_splitting_decodes_no_image(make_folder: MakeFolder) -> None:
    root = make_folder({"cat": 4, "dog": 4})
    (root / "cat" / "000.png").write_text("not an image")
    assert len(open_data(root).images) == 8


def test_files_with_the_same_bytes_stay_together(make_folder: MakeFolder) -> None:
    root = make_folder({"cat": 12, "dog": 12})
    for number in range(12):
        shutil.copy(root / "cat" / f"{number:03}.png", root / "cat" / f"copy{number:03}.png")
    splits: dict[str, set[str]] = {}
    for item in open_data(root, fractions=(0.4, 0.3, 0.3)).images:
        splits.setdefault(item.sha256, set()).add(item.split)
    assert all(len(found) == 1 for found in splits.values())


@pytest.mark.parametrize("size", [1, 4, 7])
def test_groups_stay_together_and_classes_keep_about_their_shares(make_folder: MakeFolder, size: int) -> None:
    dataset = with_groups(read_dataset(make_folder({"cat": 140, "dog": 70})), lambda i: f"patient {i // size}")
    manifest = split_dataset(dataset)
    splits: dict[str | None, set[str]] = {}
    for item in manifest.images:
        splits.setdefault(item.group, set()).add(item.split)
    assert all(len(found) == 1 for found in splits.values())
    for label, images in (("cat", 140), ("dog", 70)):
        for split, share in zip(("train", "val", "test"), manifest.fractions, strict=True):
            assert abs(counts(manifest)[split, label] - share * images) <= size


def test_given_splits_are_kept(make_folder: MakeFolder) -> None:
    root = make_folder({f"{split}/{label}": 3 for split in ("train", "val", "test") for label in ("cat", "dog")})
    assert all(item.name.startswith(item.split) for item in open_data(root).images)


def test_val_is_taken_from_train_where_a_source_has_none(make_folder: MakeFolder) -> None:
    root = make_folder({"train/cat": 17, "train/dog": 17, "test/cat": 4, "test/dog": 4})
    manifest = open_data(root)
    assert counts(manifest)["val", "cat"] == counts(manifest)["val", "dog"] == 3
    assert all(item.name.startswith("train/") for item in manifest.of("train") + manifest.of("val"))
    assert all(item.name.startswith("test/") for item in manifest.of("test"))
    assert len(manifest.of("test")) == 8


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"cat": 9, "dog": 1}, "class 'dog' has 1 different image, too few for one in each of 3 splits"),
        ({"train/cat": 3, "train/dog": 3, "val/fox": 2}, "val has classes that train lacks: 'fox'"),
        ({"train/cat": 9, "train/dog": 9, "test/fox": 2}, "test has classes that train lacks: 'fox'"),
        ({"test/cat": 3, "test/dog": 3}, "no training images: only test"),
    ],
)
def test_splits_that_can_not_train_or_evaluate_are_refused(
    make_folder: MakeFolder, cells: dict[str, int], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        open_data(make_folder(cells))


def test_copies_do_not_count_as_images_of_a_class(make_folder: MakeFolder) -> None:
    root = make_folder({"cat": 5, "dog": 1})
    for number in range(5):
        shutil.copy(root / "dog" / "000.png", root / "dog" / f"copy{number}.png")
    with pytest.raises(DataError, match="class 'dog' has 1 different image"):
        open_data(root)


def test_a_group_in_two_given_splits_is_a_leak(make_folder: MakeFolder) -> None:
    dataset = read_dataset(make_folder({"train/cat": 2, "train/dog": 2, "test/cat": 1}))
    with pytest.raises(GateError, match="groups in more than one split: 'tom'"):
        split_dataset(with_groups(dataset, lambda i: "tom" if dataset.images[i].label == "cat" else None))


@pytest.mark.parametrize("fractions", [(0.7, 0.2, 0.2), (0.0, 0.5, 0.5), (1.2, -0.1, -0.1), (float("nan"), 0.5, 0.5)])
def test_fractions_must_sum_to_one(make_folder: MakeFolder, fractions: tuple[float, float, float]) -> None:
    with pytest.raises(UsageError, match="must sum to 1"):
        open_data(make_folder({"cat": 9, "dog": 9}), fractions=fractions)


def test_a_split_may_be_left_out(make_folder: MakeFolder) -> None:
    manifest = open_data(make_folder({"cat": 10, "dog": 2}), fractions=(0.8, 0.2, 0.0))
    assert [len(manifest.of(split)) for split in ("train", "val", "test")] == [9, 3, 0]


def test_a_file_that_vanished_is_named(make_folder: MakeFolder) -> None:
    dataset = read_dataset(make_folder({"cat": 4, "dog": 4}))
    dataset.images[3].path.unlink()
    with pytest.raises(DataError, match=r"cat/003\.png: No such file"):
        split_dataset(dataset)


def test_a_link_to_itself_is_named(make_folder: MakeFolder) -> None:
    root = make_folder({"cat": 4, "dog": 4})
    (root / "cat" / "loop.jpg").symlink_to("loop.jpg")
    with pytest.raises(DataError, match=r"loop.jpg: Too many levels of symbolic links"):
        open_data(root)


def test_files_that_cannot_be_read_are_left_out_where_somebody_is_told(make_folder: MakeFolder) -> None:
    root = make_folder({"cat": 4, "dog": 4})
    whole, told = open_data(root), []
    for name in ("loop", "torn"):
        (root / "cat" / f"{name}.jpg").symlink_to("nowhere.jpg")
    assert open_data(root, warn=told.append).digest == whole.digest
    (sentence,) = told
    assert "2 of 10 images can't be used: cat/loop.jpg (No such file or directory)" in sentence and sentence.endswith(
        "they are left out"
    )
    for number in range(4):
        (root / "dog" / f"{number:03d}.png").unlink()
        (root / "dog" / f"{number:03d}.png").symlink_to("nowhere.jpg")
    with pytest.raises(DataError, match="6 of 10 images can't be used"):
        open_data(root, warn=told.append)


@pytest.mark.parametrize(("emptied", "named"), [("val", "the split 'val'"), ("train/dog", "the class 'dog'")])
def test_a_split_or_a_class_whose_files_cannot_all_be_read_is_an_error(
    emptied: str, named: str, make_folder: MakeFolder
) -> None:
    counts = {"train/cat": 9, "train/dog": 3, "val/cat": 3}
    root = make_folder(counts)
    for image in [path for path in (root / emptied).rglob("*.png")]:
        image.unlink()
        image.symlink_to("nowhere.png")
    with pytest.raises(DataError, match=f"3 of 15 images can't be used: .*; nothing is left of {named}"):
        open_data(root, warn=pytest.fail)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_named(make_folder: MakeFolder) -> None:
    root = make_folder({"cat": 4, "dog": 4})
    (root / "cat" / "000.png").chmod(0)
    with pytest.raises(DataError, match=r"000\.png: Permission denied"):
        open_data(root)


def test_a_manifest_comes_back_as_it_was(manifest: DataSplit, tmp_path: Path) -> None:
    save_split(manifest, tmp_path / "split.json")
    assert json.loads((tmp_path / "split.json").read_text())["root"] == "photos"
    assert open_data(tmp_path / "split.json") == manifest


def test_a_manifest_moves_with_its_images(manifest: DataSplit, tmp_path: Path) -> None:
    save_split(manifest, tmp_path / "split.json")
    (tmp_path / "new").mkdir()
    for name in ("photos", "split.json"):
        (tmp_path / name).rename(tmp_path / "new" / name)
    moved = load_split(tmp_path / "new" / "split.json")
    assert moved.images[0].path.exists()
    assert moved.digest == manifest.digest


def test_a_manifest_elsewhere_knows_its_images(manifest: DataSplit, tmp_path: Path) -> None:
    save_split(manifest, tmp_path / "runs" / "cats" / "split.json")
    assert load_split(tmp_path / "runs" / "cats" / "split.json") == manifest
    manifest.root.rename(tmp_path / "moved")
    with pytest.raises(DataError, match="its images were in"):
        load_split(tmp_path / "runs" / "cats" / "split.json")
    found = load_split(tmp_path / "runs" / "cats" / "split.json", root=tmp_path / "moved")
    assert found.images[0].read()


def test_an_existing_manifest_needs_force(manifest: DataSplit, tmp_path: Path) -> None:
    save_split(manifest, tmp_path / "split.json")
    with pytest.raises(UsageError, match="exists"):
        save_split(manifest, tmp_path / "split.json")
    save_split(manifest, tmp_path / "split.json", force=True)


def test_names_of_any_kind_come_back(make_folder: MakeFolder, tmp_path: Path) -> None:
    root = make_folder({"cat": 3, "dog": 3})
    names = ["a b\n[red].png", "\x1b[31m.png", "=cmd.png", "back\\slash.png", os.fsdecode(b"\xff\xfe.png"), "ü.png"]
    for name, path in zip(names, sorted(root.rglob("*.png")), strict=True):
        path.rename(path.with_name(name))
    manifest = open_data(root)
    save_split(manifest, tmp_path / "split.json")
    again = load_split(tmp_path / "split.json")
    assert again == manifest and all(item.read() for item in again.images)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "not a split manifest"),
        ('{"schema": 1}', "not a split manifest"),
        ('{"schema": 2, "items": []}', "schema 2, this edgeclf reads schema 1; update edgeclf"),
        ('{"schema": 1, "items": [], "colour": 1}', "unknown field 'colour'"),
    ],
)
def test_files_that_are_no_manifest_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "split.json").write_text(text)
    with pytest.raises(DataError) as caught:
        open_data(tmp_path / "split.json")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"path": "../secret.png"}, "does not stay under the root"),
        ({"path": "/etc/passwd"}, "does not stay under the root"),
        ({"path": "cat/../../secret.png"}, "does not stay under the root"),
        ({"label": "fox"}, "is none of its classes"),
        ({"split": "holdout"}, "wanted one of train, val, test"),
        ({"path": "dog/000.png"}, "listed twice"),
    ],
)
def test_a_tampered_manifest_is_refused(
    manifest: DataSplit, tmp_path: Path, change: dict[str, str], message: str
) -> None:
    save_split(manifest, tmp_path / "split.json")
    content = json.loads((tmp_path / "split.json").read_text())
    content["items"][0].update(change)
    (tmp_path / "split.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=message):
        load_split(tmp_path / "split.json")


def test_a_missing_manifest_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such split manifest"):
        open_data(tmp_path / "split.json")


def test_a_changed_or_deleted_image_is_found_when_it_is_read(manifest: DataSplit) -> None:
    first, second = manifest.images[:2]
    first.path.write_bytes(b"something else")
    second.path.unlink()
    with pytest.raises(DataError, match="changed since its SHA-256 was taken"):
        first.read()
    with pytest.raises(DataError, match="missing; it was there when"):
        second.read()
    assert manifest.images[2].read()


def test_different_splits_have_different_digests(manifest: DataSplit) -> None:
    moved = replace(manifest, images=(replace(manifest.images[0], split="test"), *manifest.images[1:]))
    assert moved.digest != manifest.digest
    assert replace(manifest, images=manifest.images[::-1], root=Path("/")).digest == manifest.digest


@pytest.mark.parametrize("count", [0, 1, 1000, 2001])
def test_a_split_of_any_size_is_written_and_hashed_as_one_json_list(count: int, tmp_path: Path) -> None:
    names = [f'null/{number}"null".png' for number in range(count)]
    images = [LabelledImage(tmp_path, name, ("é",), "0" * 64, "a\nnull", "train") for name in names]
    data = DataSplit(root=tmp_path, classes=("null", "é"), images=tuple(images))
    rows = [data.row(image) for image in images]
    save_split(data, tmp_path / "split.json")
    text = (tmp_path / "split.json").read_text("utf-8")
    content = json.loads(text)
    assert content["items"] == rows and text == json.dumps(content, indent=1) + "\n"
    in_order = sorted(rows, key=lambda row: row["path"])
    assert data.digest == hashlib.sha256(json.dumps(in_order).encode()).hexdigest()


@pytest.mark.parametrize(("count", "expected"), [(3, [1, 1, 1]), (4, [2, 1, 1]), (10, [7, 2, 1]), (100, [70, 15, 15])])
def test_largest_remainders_sum_to_the_count_and_give_each_share_one(count: int, expected: list[int]) -> None:
    assert largest_remainder(count, (0.7, 0.15, 0.15)) == expected


def test_clusters_join_by_any_tie_but_not_across_kinds() -> None:
    ties = [("h1", "a"), ("h2", "a"), ("h2", None), ("h3", None), ("a", "h3")]
    assert join_clusters(ties) == [[0, 1, 2], [3], [4]]


def test_an_image_of_a_class_that_is_none_or_that_lies_elsewhere_is_refused() -> None:
    image = LabelledImage(Path("/"), "cat/1.png", ("cat",))
    assert image.split is None and image.label == "cat"
    with pytest.raises(ValueError, match=r"'cat' of 'cat/1\.png' is none of its classes"):
        DataSplit(root=Path("/"), classes=("dog", "fox"), images=(image,))
    with pytest.raises(ValueError, match="does not stay under the root"):
        DataSplit(root=Path("/"), classes=("cat", "dog"), images=(replace(image, name="../1.png"),))


@pytest.mark.parametrize("labels", [None, (), ("cat", "dog")])
def test_an_image_of_several_classes_or_of_none_has_no_one_label(labels: tuple[str, ...] | None) -> None:
    with pytest.raises(DataError, match="wanted an image of one class"):
        _ = LabelledImage(Path(), "pets.png", labels).label


def test_a_split_file_of_one_class_is_refused(make_folder: MakeFolder, tmp_path: Path) -> None:
    place = tmp_path / "split.json"
    save_split(open_data(make_folder({"cat": 6, "dog": 6})), place)
    content = json.loads(place.read_text())
    items = [item for item in content["items"] if item["label"] == "cat"]
    place.write_text(json.dumps({**content, "classes": ["cat"], "items": items}))
    with pytest.raises(DataError, match="two classes or more"):
        load_split(place)
