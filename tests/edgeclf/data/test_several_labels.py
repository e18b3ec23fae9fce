"""Several labels an image: how tables and folders say it, splits that keep shares, and who refuses such data."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgeclf.data.check import check_dataset
from edgeclf.data.co_occurrence import inseparable_labels, label_statistics
from edgeclf.data.findings import find_faults
from edgeclf.data.fractions import nested_subsets
from edgeclf.data.sources import read_dataset
from edgeclf.data.split import open_data
from edgeclf.data.split_file import load_split, save_split
from edgeclf.data.stratify import deal_iteratively
from edgeclf_runtime.errors import DataError, UsageError
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.images.labelled import label_targets

MakeFolder = Callable[[dict[str, int]], Path]
SHARES = {"a": 0.5, "b": 0.3, "c": 0.1}


@pytest.fixture
def images(make_folder: MakeFolder) -> Path:
    return make_folder({"shots": 40})


def write(images: Path, text: str) -> Path:
    (images / "tags.csv").write_text(text)
    return images / "tags.csv"


@pytest.fixture
def table(images: Path) -> Path:
    """40 images: c is on 4 of them, 11 have no label."""
    rows = ["path,labels"]
    for number in range(40):
        labels = [label for label, share in SHARES.items() if number % round(1 / share) == 0 and number < 39]
        rows.append(f"shots/{number:03}.png,{';'.join(labels)}")
    return write(images, "\n".join(rows) + "\n")


def known(source: Path) -> DataSplit:
    return read_dataset(source, several_labels="known")


def test_both_kinds_of_tables_say_the_same(images: Path) -> None:
    listed = known(write(images, "path,labels,split\nshots/000.png,b | a,train\nshots/001.png,,train\n"))
    columns = known(write(images, "path,split,b,a,never\nshots/000.png,train,1,1,0\nshots/001.png,train,0,0.0,0\n"))
    assert listed.multi_label and columns.multi_label
    assert [image.labels for image in listed.images] == [("a", "b"), ()] == [image.labels for image in columns.images]
    assert (listed.classes, columns.classes) == (("a", "b"), ("a", "b", "never"))
    assert label_targets(columns.images, columns.classes).tolist() == [[1, 1, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label,labels\nshots/000.png,a,a|b\n", "a column label and a column labels; keep the one that holds"),
        ("path,labels\nshots/000.png,a||b\n", "line 2: an empty label in 'a||b'"),
        ("path,labels\nshots/000.png,a|b|a\n", "line 2: the label 'a' is there twice"),
        ("path,labels\nshots/000.png,a\nshots/000.png,b\n", "line 3: 'shots/000.png' is named in line 2 already"),
        ("path,labels\nshots/000.png,\nshots/001.png,\n", "no image has any label"),
        ("path,a,b\nshots/000.png,0,0\nshots/001.png,0,0\n", "no image has any label"),
        ("path,a|b,c\nshots/000.png,1,0\nshots/001.png,0,1\n", "the label 'a|b' holds | or ;"),
        ("path,a,\nshots/000.png,1,0\nshots/001.png,0,1\n", "a column without a name"),
        ("path,labels\nshots/000.png,a\n", "one class only"),
        ("path,a,b\nshots/000.png,1,2\n", "line 2: '2' in the column 'b'; a label's column holds 0 or 1"),
        ("path,a,b\nshots/000.png,1,0\nshots/001.png,yes,0\n", "line 3: 'yes' in the column 'a'"),
        ("path,a,a\nshots/000.png,1,0\n", "two columns 'a'"),
        (
            "path,class\nshots/000.png,cat\n",
            "no column label; wanted path,label[,split][,group], found 'path', 'class'",
        ),
    ],
)
def test_each_fault_of_such_a_table_has_its_line(images: Path, text: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        known(write(images, text))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_an_image_in_several_class_folders_has_all_their_labels(make_folder: MakeFolder) -> None:
    root = make_folder({"a": 3, "b": 3})
    shutil.copy(root / "a" / "000.png", root / "b" / "copy.png")
    os.link(root / "a" / "001.png", root / "b" / "linked.png")
    found = read_dataset(root, several_labels="wanted")
    assert {image.name: image.labels for image in found.images if len(image.labels or ()) > 1} == {
        "a/000.png": ("a", "b"),
        "a/001.png": ("a", "b"),
    }
    assert len(found.images) == 6 and not read_dataset(root).multi_label


def test_names_of_class_folders_must_be_told_apart_in_a_list_only_where_an_image_may_have_several(
    make_folder: MakeFolder,
) -> None:
    root = make_folder({"a;b": 2, "c": 2})
    assert read_dataset(root).classes == ("a;b", "c")
    with pytest.raises(DataError, match=r"the label 'a;b' holds \| or ;, which stand between labels; rename it"):
        read_dataset(root, several_labels="wanted")


def test_a_split_file_in_which_no_image_has_a_label_is_refused(table: Path, tmp_path: Path) -> None:
    save_split(open_data(table, several_labels="known"), tmp_path / "split.json")
    content = json.loads((tmp_path / "split.json").read_text())
    content["items"] = [{**item, "labels": []} for item in content["items"]]
    (tmp_path / "split.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="no image has any label"):
        open_data(tmp_path / "split.json", several_labels="known")
    assert len(load_split(tmp_path / "split.json", several_labels="known").images)  # images to adapt to need no label


def test_a_split_keeps_the_share_of_each_label_and_reads_back_the_same(table: Path, tmp_path: Path) -> None:
    split = open_data(table, several_labels="known")
    without = [sum(not image.labels for image in split.of(name)) for name in ("train", "val", "test")]
    counts = np.array([label_targets(split.of(name), split.classes).sum(axis=0) for name in ("train", "val", "test")])
    totals = counts.sum(axis=0)
    assert np.abs(counts - np.outer((0.7, 0.15, 0.15), totals)).max() <= 1.0 and counts.min() >= 1
    assert abs(without[0] - 0.7 * sum(without)) <= 1
    assert open_data(table, several_labels="known").digest == split.digest
    save_split(split, tmp_path / "split.json")
    again = load_split(tmp_path / "split.json", several_labels="known")
    assert (again.digest, again.multi_label, again.classes) == (split.digest, True, split.classes)
    content = json.loads((tmp_path / "split.json").read_text())
    content["items"][0]["label"] = "a"
    (tmp_path / "split.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="wants the field labels, and no other"):
        load_split(tmp_path / "split.json", several_labels="known")


def test_groups_stay_together_and_rare_labels_reach_each_split() -> None:
    random = np.random.default_rng(0)
    labels = [tuple(label for label, share in SHARES.items() if random.random() < share) for _ in range(300)]
    order = [list(range(start, min(start + 3, 300))) for start in range(0, 300, 3)]
    dealt = deal_iteratively(order, labels, (0.7, 0.15, 0.15))
    sizes = np.bincount(dealt, minlength=3) * 3
    assert np.abs(sizes - (210, 45, 45)).max() <= 6
    for label in SHARES:
        counts = np.bincount(
            [place for place, cluster in zip(dealt, order, strict=True) for i in cluster if label in labels[i]],
            minlength=3,
        )
        assert np.abs(counts / counts.sum() - (0.7, 0.15, 0.15)).max() < 0.05
    assert set(deal_iteratively(order, labels, (0.8, 0.0, 0.2))) == {0, 2}


def test_labels_joined_by_a_comma_are_refused_where_one_of_them_is_a_label_and_else_warned_of(images: Path) -> None:
    rows = 'shots/000.png,a|b\nshots/001.png,"a, c"\nshots/002.png,"Lyon, France"\n'
    with pytest.raises(DataError, match=r"line 3: 'a, c' is read as one label, and a part of it is one by itself"):
        known(write(images, "path,labels\n" + rows))
    data = known(write(images, "path,labels\n" + rows.replace('"a, c"', "c")))
    assert "Lyon, France" in data.classes
    found = [each.text for each in find_faults(check_dataset(data)) if each.verdict == "warning"]
    assert any("'Lyon, France'; | or ; stand between labels" in text for text in found)


def test_a_label_on_too_few_images_is_named(images: Path) -> None:
    rows = "".join(f"shots/{number:03}.png,{'a|b' if number < 2 else 'a'}\n" for number in range(30))
    with pytest.raises(DataError, match=r"label 'b' has 2 different images, too few .* leave the label out"):
        open_data(write(images, "path,labels\n" + rows), several_labels="known")


def test_statistics_count_pairs_and_name_labels_that_never_come_alone(images: Path) -> None:
    rows = "".join(
        f"shots/{number:03}.png,{'a|b' if number < 12 else 'b' if number < 20 else 'c' if number < 30 else ''}\n"
        for number in range(40)
    )
    data = known(write(images, "path,labels\n" + rows))
    found = label_statistics(data.images, data.classes)
    (pair,) = found.pairs
    assert (pair.first, pair.second, pair.images, pair.of_first, pair.of_second) == ("a", "b", 12, 1.0, 0.6)
    assert (found.without_label, found.most_labels, found.combinations, found.apart) == (10, 2, 4, 2)
    assert pair.lift == 2.0 and found.mean_labels == 42 / 40 and found.rare == ()
    assert "'a' only with 'b'" in str(inseparable_labels(found))


def test_the_data_verbs_take_it_and_one_label_is_no_several(
    table: Path, tmp_path: Path, edgeclf: Callable[..., object], make_folder: MakeFolder
) -> None:
    split = tmp_path / "split.json"
    for arguments in (
        ("data", "split", table, "-o", split),
        ("data", "check", split, "--json"),
        ("data", "stats", split, "--json"),
    ):
        shown = edgeclf(*arguments)
        assert shown.code == 0, shown.err  # type: ignore[attr-defined]
        assert arguments[1] == "split" or json.loads(shown.out)  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="has one label an image, and --multi-label"):
        read_dataset(write(table.parent, "path,label\nshots/000.png,a\nshots/001.png,b\n"), several_labels="wanted")


def test_parts_of_the_training_images_lie_in_each_other_and_keep_the_rare_labels(table: Path) -> None:
    data = open_data(table, seed=0, several_labels="known")
    half, whole = nested_subsets(data, (0.5, 1.0))
    assert whole.images == data.images
    few, all_of_them = (label_targets(each.of("train"), data.classes) for each in (half, whole))
    assert abs(len(few) - len(all_of_them) / 2) <= 2 and (few.sum(axis=0) >= 1).all()
    assert {image.name for image in half.of("train")} < {image.name for image in whole.of("train")}
    with pytest.raises(UsageError, match=r"leaves the class '\w' without a training image"):
        nested_subsets(data, (0.05,))
