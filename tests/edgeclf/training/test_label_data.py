"""Several labels an image: doubtful labels are found and corrected, and new images are labelled and added."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeclf import cli
from edgeclf.data.split_file import load_split, save_split
from edgeclf.training.multi_label_review import cross_validate_labels
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.images.labelled import LabelledImage

WRONG = {"5.png": "blue", "12.png": "blue|green|red"}  # of red|blue, and of green|blue
BACKBONE = ("-m", "test_resnet", "--weights", "random", "--img-size", "32", "--device", "cpu")


@pytest.fixture
def table(tags: DataSplit, tmp_path: Path) -> Path:
    """The CSV of the tags with splits, and two images whose labels are wrong."""
    shutil.copytree(tags.root, tmp_path / "tags")
    rows = [
        (image.name, WRONG.get(image.name, "|".join(image.labels or ())), image.split or "") for image in tags.images
    ]
    return write(tmp_path / "tags" / "tags.csv", [("path", "labels", "split"), *rows])


def write(place: Path, rows: list[tuple[str, ...]]) -> Path:
    with place.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return place


def rows_of(place: Path) -> list[dict[str, str]]:
    with place.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_doubtful_labels_are_ranked_and_corrections_keep_the_way_that_the_table_has_labels(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.run(["data", "review", str(table), *BACKBONE, "--json"]) == 0
    read = json.loads(capsys.readouterr().out)
    scores = [each["score_given"] for each in read["suspects"]]
    assert scores == sorted(scores) and all(each < 0.5 for each in scores) and 0 < read["agreement"] <= 1
    for each in read["suspects"]:
        flipped = {doubt["label"] for doubt in each["doubts"]}
        assert set(each["given"]) ^ flipped == set(each["likely"])
        assert {doubt["label"] for doubt in each["doubts"] if doubt["is_probably"] == "superfluous"} == flipped & set(
            each["given"]
        )
    review = tmp_path / "review/review.csv"
    rows = rows_of(review)
    assert [row["likely"] for row in rows] == ["|".join(each["likely"]) for each in read["suspects"]]
    rows[0]["labels"], rows[1]["labels"], rows[2]["labels"] = "red;blue", "", "-"
    write(review, [tuple(rows[0]), *(tuple(row.values()) for row in rows)])
    assert cli.run(["data", "apply", str(review)]) == 0
    corrected = {row["path"]: row["labels"] for row in rows_of(table.with_name("tags-corrected.csv"))}
    old = {row["path"]: row["labels"] for row in rows_of(table)}
    changed = {name: corrected.get(name) for name in old if old[name] != corrected.get(name)}
    wanted = {rows[0]["path"]: "blue|red", rows[1]["path"]: "", rows[2]["path"]: None}
    assert changed == {name: new for name, new in wanted.items() if new != old[name]}
    rows[0]["labels"] = "red|rad"
    write(review, [tuple(rows[0]), *(tuple(row.values()) for row in rows)])
    assert cli.run(["data", "apply", str(review), "--force"]) == 3
    assert "no class 'rad'; meant 'red'?" in capsys.readouterr().err


def test_planted_faults_come_first_where_features_tell_labels_apart() -> None:
    random = np.random.default_rng(0)
    targets = (random.random((300, 3)) < 0.5).astype(np.float32)
    features = (np.hstack([targets, targets]) + random.normal(size=(300, 6)) / 4).astype(np.float32)
    given = targets.copy()
    given[[3, 50], [0, 2]] = 1 - given[[3, 50], [0, 2]]
    images = [
        LabelledImage(Path(), f"{i}.png", tuple("abc"[k] for k in np.flatnonzero(row))) for i, row in enumerate(given)
    ]
    found = cross_validate_labels(features, images, given, [[i] for i in range(300)], 5, 0)
    probable = np.where(given > 0, found, 1 - found)
    assert set(np.argsort(probable.min(axis=1))[:2].tolist()) == {3, 50}
    alone = given.copy()
    alone[:, 1] = 0
    alone[7, 1] = 1  # the probe of its fold saw no other
    found = cross_validate_labels(features, images, alone, [[i] for i in range(300)], 5, 0)
    assert np.isnan(found[7, 1]) and np.isfinite(found[:, [0, 2]]).all()


def test_images_are_labelled_on_a_sheet_and_added_with_all_their_labels(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(1)
    (tmp_path / "new").mkdir()
    for number in range(4):
        Image.fromarray(random.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(tmp_path / f"new/n{number}.png")
    (tmp_path / "new/n0.json").write_text(
        json.dumps(
            {
                "why": "unknown",
                "prediction": {"label": None, "labels": ["red"], "scores": [{"label": "red", "probability": 0.6}]},
            }
        )
    )
    assert cli.run(["data", "add", "new", "--sheet"]) == 0
    sheet = tmp_path / "new/labels.csv"
    rows = rows_of(sheet)
    assert list(rows[0])[1] == "labels" and rows[0]["predicted"] == "red"
    for row, labels in zip(rows, ("red|blue", "no label", "", "green"), strict=True):
        row["labels"] = labels
    write(sheet, [tuple(rows[0]), *(tuple(row.values()) for row in rows)])
    wanted = {"n0.png": ("blue", "red"), "n1.png": (), "n3.png": ("green",)}
    assert cli.run(["data", "add", "new", str(table), "--json"]) == 0
    added = json.loads(capsys.readouterr().out)["added"]
    assert {each["path"]: tuple(each["labels"]) for each in added} == wanted
    listed = {row["path"]: row["labels"] for row in rows_of(table.with_name("tags-added.csv"))}
    assert {name: listed[name] for name in wanted} == {name: "|".join(labels) for name, labels in wanted.items()}
    save_split(load_table(table), tmp_path / "tags/split.json")
    for name in wanted:
        (tmp_path / "tags" / name).unlink()
    assert cli.run(["data", "add", "new", "tags/split.json"]) == 0
    extended = load_split(tmp_path / "tags/split-added.json", several_labels="known")
    assert {image.name: image.labels for image in extended.images if image.name in wanted} == wanted
    rows[0]["labels"] = "red|violet"
    write(sheet, [tuple(rows[0]), *(tuple(row.values()) for row in rows)])
    assert cli.run(["data", "add", "new", "tags/split.json", "--force"]) == 3
    assert "the data has no class 'violet'" in capsys.readouterr().err
    rows[0]["labels"] = "red|no label"
    write(sheet, [tuple(rows[0]), *(tuple(row.values()) for row in rows)])
    assert cli.run(["data", "add", "new", "tags/split.json", "--force"]) == 3
    assert "'no label' stands beside labels in 'red|no label'" in capsys.readouterr().err
    write(sheet, [("path", "label"), ("n0.png", "red")])
    assert cli.run(["data", "add", "new", "tags/split.json", "--force"]) == 2
    assert "has one label an image, and the data set several labels" in capsys.readouterr().err


def load_table(table: Path) -> DataSplit:
    from edgeclf.data.hashed import hash_images
    from edgeclf.data.split import read_source

    return hash_images(read_source(table, several_labels="known"))
