"""`edgeclf data add`: into train and val, never into test, and no copy of a test image."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from edgeclf.data.split import open_data
from edgeclf.data.split_file import load_split, save_split

from .conftest import MakeFolder, noise

Command = Callable[..., Any]


@pytest.fixture
def split(make_folder: MakeFolder, tmp_path: Path) -> Path:
    """A split file of two classes of 20 images."""
    place = tmp_path / "split.json"
    save_split(open_data(make_folder({"cat": 20, "dog": 20})), place)
    return place


def collected(folder: Path, images: dict[str, Image.Image], labels: dict[str, str]) -> Path:
    """A folder as `--collect` leaves it, with a labels.csv that a person filled in."""
    folder.mkdir()
    for name, image in images.items():
        image.save(folder / name)
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label"), *((name, labels.get(name, "")) for name in images)])
    return folder


def test_images_go_to_train_and_val_and_copies_of_test_images_nowhere(
    split: Path, tmp_path: Path, edgeclf: Command
) -> None:
    old = load_split(split)
    with Image.open(old.of("test")[0].path) as image, Image.open(old.of("val")[0].path) as known:
        copy = image.resize((48, 40))  # another size and format: other bytes, the same look
        turned = known.resize((30, 25))
    fresh = {f"new{number}.png": noise(1000 + number) for number in range(30)}
    inbox = collected(
        tmp_path / "inbox",
        {"copy.jpg": copy, "like_val.png": turned, "later.png": noise(999), **fresh},
        {"copy.jpg": old.of("test")[0].label, "like_val.png": old.of("val")[0].label, **dict.fromkeys(fresh, "dog")},
    )
    done = edgeclf("data", "add", inbox, split, "--json")
    read = json.loads(done.out)
    assert done.code == 0
    assert [(each["name"], each["why"]) for each in read["left_out"]] == [("copy.jpg", "like a test image")]
    new = load_split(tmp_path / "split-added.json")
    assert new.of("test") == old.of("test") and set(old.images) <= set(new.images)
    added = {each["path"]: each["split"] for each in read["added"]}
    assert len(added) == 31 and set(added.values()) == {"train", "val"}
    assert added[f"{old.of('val')[0].label}/like_val.png"] == "val"
    assert 1 <= sum(split == "val" for split in added.values()) <= 12  # val has a fifth of train and val
    assert all(path.split("/")[0] in ("cat", "dog") for path in added)  # beside those of its class
    again = edgeclf("data", "add", inbox, tmp_path / "split-added.json")
    assert again.code == 1 and "none of 32 images can be added" in again.err


def test_a_folder_with_splits_and_a_table_take_new_images_and_groups_of_test_stay_out(
    make_folder: MakeFolder, tmp_path: Path, edgeclf: Command
) -> None:
    root = make_folder({f"{part}/{label}": 4 for part in ("train", "val", "test") for label in ("cat", "dog")})
    with (root / "all.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("path", "label", "split", "group", "note"))
        for path in sorted(root.glob("*/*/*.png")):
            part, label = path.relative_to(root).parts[:2]
            rows.writerow((path.relative_to(root), label, part, f"{part}-{label}", "kept"))
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    for number in range(3):
        noise(2000 + number).save(inbox / f"{number}.png")
    (inbox / "new.csv").write_text("path,label,group\n0.png,cat,test-cat\n1.png,dog,val-dog\n2.png,dog,\n")
    done = edgeclf("data", "add", inbox / "new.csv", root / "all.csv", "--json")
    read = json.loads(done.out)
    assert [each["why"] for each in read["left_out"]] == ["in a group of test images"]
    assert {each["path"]: each["split"] for each in read["added"]}["val/dog/1.png"] == "val"
    with (root / "all-added.csv").open() as file:
        written = list(csv.DictReader(file))
    assert len(written) == 26 and sum(row["note"] == "kept" for row in written) == 24
    assert next(row["group"] for row in written if row["path"] == "val/dog/1.png") == "val-dog"

    with (root / "bare.csv").open("w", newline="") as file:  # as all.csv, but with no column of groups
        names = ("path", "label", "split")
        csv.writer(file).writerows([names, *([row[name] for name in names] for row in written[:24])])
    (inbox / "two.csv").write_text("path,label,group\n0.png,cat,film 7\n2.png,dog,\n")
    assert edgeclf("data", "add", inbox / "two.csv", root / "bare.csv").code == 0
    with (root / "bare-added.csv").open() as file:
        assert [row["group"] for row in csv.DictReader(file)] == [""] * 24 + ["film 7", ""]

    more = tmp_path / "more" / "cat"
    more.mkdir(parents=True)
    noise(3000).save(more / "a.png")
    assert edgeclf("data", "add", tmp_path / "more", root).code == 0
    assert (root / "train/cat/a.png").exists() or (root / "val/cat/a.png").exists()
    noise(4000).save(tmp_path / "film.png")
    (tmp_path / "film.csv").write_text("path,label,group\nfilm.png,cat,film 8\n")
    assert "a folder holds no groups" in edgeclf("data", "add", tmp_path / "film.csv", root).err


def test_a_sheet_lists_what_was_collected_and_unlabelled_images_are_refused(
    split: Path, tmp_path: Path, edgeclf: Command
) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    noise(1).save(inbox / "a.png")
    prediction = {"scores": [{"label": "=cat", "probability": 0.4}]}
    (inbox / "a.json").write_text(json.dumps({"why": "near another class", "prediction": prediction}))
    refused = edgeclf("data", "add", inbox, split)
    assert refused.code == 2 and "--sheet" in refused.err
    assert edgeclf("data", "add", inbox, "--sheet").code == 0
    with (inbox / "labels.csv").open() as file:
        assert list(csv.DictReader(file)) == [
            {"path": "a.png", "label": "", "predicted": "'=cat", "score": "0.4000", "why": "near another class"}
        ]
    assert "near another class" in (inbox / "labels.html").read_text()
    unfilled = edgeclf("data", "add", inbox, split)
    assert unfilled.code == 2 and "no row has a label yet" in unfilled.err
    assert edgeclf("data", "add", inbox, "--sheet").code == 2  # what a person wrote is not overwritten


def test_strange_classes_and_data_without_a_test_split_are_refused(
    split: Path, make_folder: MakeFolder, tmp_path: Path, edgeclf: Command
) -> None:
    inbox = collected(tmp_path / "inbox", {"a.png": noise(1)}, {"a.png": "horse"})
    strange = edgeclf("data", "add", inbox, split)
    assert strange.code == 3 and "no class 'horse'" in strange.err
    plain = edgeclf("data", "add", inbox, tmp_path / "photos")
    assert plain.code == 2 and "edgeclf data split" in plain.err
    assert edgeclf("data", "add", inbox).code == 2
