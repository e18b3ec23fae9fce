"""`edgeclf data review` and `data apply`: planted wrong labels come first, and what a person corrects is applied."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from edgeclf import cli
from edgeclf.data.split import open_data
from edgeclf.data.split_file import load_split, save_split
from edgeclf.training.label_review import cross_validate
from edgeclf_runtime.errors import DataError

WRONG = {"red/3.png": "blue", "green/7.png": "red"}
BACKBONE = ("-m", "test_resnet", "--weights", "random", "--img-size", "32")


@pytest.fixture
def table(discs: Path, tmp_path: Path) -> Path:
    """A CSV of the discs with splits, groups and a column of its own; two labels of it are wrong."""
    root = tmp_path / "discs"
    shutil.copytree(discs, root)
    place = root / "discs.csv"
    with place.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("path", "label", "split", "group", "camera"))
        for path in sorted(root.glob("*/*.png")):
            number, name = int(path.stem), path.relative_to(root).as_posix()
            split = "test" if number > 9 else "val" if number > 7 else "train"
            rows.writerow(
                (name, WRONG.get(name, path.parent.name), split, f"{path.parent.name}-{number // 2}", "north")
            )
    return place


def rows_of(place: Path) -> list[dict[str, str]]:
    with place.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_wrong_labels_come_first_and_corrections_make_a_copy_with_splits_groups_and_columns(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.run(["data", "review", str(table), *BACKBONE, "--json"]) == 0
    read = json.loads(capsys.readouterr().out)
    assert (read["images"], read["test_images"]) == (30, 6)
    assert {each["path"]: each["given"] for each in read["suspects"][:2]} == WRONG
    assert [each["likely"] for each in sorted(read["suspects"][:2], key=lambda each: each["path"])] == ["green", "red"]
    page = (tmp_path / "review/review.html").read_text()
    assert page.count("<figure>") == len(read["suspects"]) and "http://" not in page and "https://" not in page

    review = tmp_path / "review/review.csv"
    rows = rows_of(review)
    for row in rows:
        row["label"] = row["likely"] if row["path"] in WRONG else row["label"]
    rows[-1]["label"] = "-" if rows[-1]["path"] not in WRONG else rows[-1]["label"]
    with review.open("w", newline="", encoding="utf-8-sig") as file:  # as a spreadsheet of another country saves it
        writer = csv.DictWriter(file, list(rows[0]), delimiter=";")
        writer.writeheader()
        writer.writerows(rows)
    before = table.read_bytes()
    assert cli.run(["data", "apply", "review/review.csv"]) == 0
    gone = {row["path"] for row in rows if row["label"] == "-"}
    wanted = [{**row, "label": row["path"].split("/")[0]} for row in rows_of(table) if row["path"] not in gone]
    assert rows_of(table.with_name("discs-corrected.csv")) == wanted
    assert table.read_bytes() == before
    assert cli.run(["data", "apply", "review/review.csv"]) == 2  # the copy exists


def test_a_split_file_stays_one_and_the_test_images_are_left_alone(
    discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    split = tmp_path / "split.json"
    save_split(open_data(discs), split)
    (tmp_path / "review.json").write_text(json.dumps({"schema": 1, "source": str(split)}))
    image = load_split(split).of("train")[0]
    other = next(label for label in load_split(split).classes if label != image.label)
    (tmp_path / "review.csv").write_text(f"path,label\n{image.name},{other}\n")
    assert cli.run(["data", "apply", "review.csv", "-o", "new.json"]) == 0
    old, new = load_split(split), load_split(tmp_path / "new.json")
    assert {each.name for each in new.images if each not in old.images} == {image.name}
    assert new.of("test") == old.of("test")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("path,label\nred/0.png,rad\n", "line 2: the data has no class 'rad'; meant 'red'?"),
        ("path,label\nred/0.png,\n", "line 2: no label"),
        ("path,label\nred/99.png,red\n", "no image 'red/99.png'"),
        ("path,label\nred/0.png,red\nred/0.png,blue\n", "named in line 2 already"),
        ("name,label\nred/0.png,red\n", "no column path"),
        ("path,label\nred/0.png\n", "1 cells for 2 columns"),
        ("path,label\nred/0.png,zebra\n", "the data has no class 'zebra', but"),
        ("path,label\nred/\udcff.png,red\n", "not UTF-8 (byte "),
        ('path,label\nred/0.png,"red\n', "not a valid CSV"),
    ],
)
def test_a_row_that_cannot_be_meant_is_named(
    discs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, reason: str
) -> None:
    (tmp_path / "review.csv").write_bytes(content.encode(errors="surrogateescape"))
    assert cli.run(["data", "apply", str(tmp_path / "review.csv"), "--data", str(discs)]) == 3
    assert reason in capsys.readouterr().err


def test_data_without_a_backbone_and_a_table_that_is_missing_are_refused(
    discs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["data", "review", str(discs), "-o", str(tmp_path / "review")]) == 2
    assert "name a backbone" in capsys.readouterr().err
    assert cli.run(["data", "apply", str(tmp_path / "none.csv")]) == 2


def test_images_of_a_group_are_held_out_together() -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(60, 4)).astype(np.float32)
    labels = np.arange(60) % 2
    labels[0] = labels[1] = 1 - labels[2]
    features[:2] += 50  # a pair like nothing else: alone, each would be known from the other
    features[:2, 0] += np.where(labels[0], 50, -50)
    together = cross_validate(features, labels, [[0, 1], *([i] for i in range(2, 60))], 2, 5, 0)
    apart = cross_validate(features, labels, [[i] for i in range(60)], 2, 5, 0)
    assert np.allclose(together.sum(axis=1), 1)
    assert apart[0, labels[0]] > together[0, labels[0]]


def test_a_class_of_one_image_is_not_ranked_and_one_image_in_all_is_refused() -> None:
    features = np.random.default_rng(0).normal(size=(21, 3)).astype(np.float32)
    labels = np.array([0, 1] * 10 + [2])
    found = cross_validate(features, labels, [[i] for i in range(21)], 3, 5, 0)
    assert np.isnan(found[20]).all() and np.isfinite(found[:20]).all()
    with pytest.raises(DataError, match="too few images"):
        cross_validate(features[:2], labels[:2], [[0], [1]], 3, 5, 0)


@pytest.mark.parametrize(
    ("about", "reason"),
    [
        (None, "no review.json lies beside it"),
        ("{", "does not say what data"),
        ("[1]", "does not say what data"),
        ('{"schema": 9, "source": "photos"}', "schema 9"),
        ('{"schema": 1}', "does not say what data"),
    ],
)
def test_a_table_that_does_not_say_what_it_is_about_wants_the_data(
    about: str | None, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "review.csv").write_text("path,label\n")
    if about is not None:
        (tmp_path / "review.json").write_text(about)
    assert cli.run(["data", "apply", str(tmp_path / "review.csv")]) == 3
    assert reason in (told := capsys.readouterr().err) and "give --data" in told


@pytest.mark.parametrize(
    ("labels", "reason"),
    [({"red": "-", "green": "-", "blue": "-"}, "no image is left"), ({"red": "-", "green": "-"}, "one class is left")],
)
def test_corrections_that_leave_nothing_useful_are_refused(
    labels: dict[str, str], reason: str, discs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = open_data(discs)
    rows = [f"{image.name},{labels[image.label]}" for image in data.images if image.label in labels]
    (tmp_path / "review.csv").write_text("\n".join(["path,label", *rows]))
    assert cli.run(["data", "apply", str(tmp_path / "review.csv"), "--data", str(discs)]) == 3
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize(
    ("output", "reason"),
    [("new.txt", "wanted an --output that ends in .csv"), ("new.csv", "has to lie above its images")],
)
def test_a_copy_lies_where_its_paths_reach_the_images(
    output: str, reason: str, discs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, *others = open_data(discs).images
    other = next(each.label for each in others if each.label != image.label)
    (tmp_path / "review.csv").write_text(f"path,label\n{image.name},{other}\n")
    command = ["data", "apply", str(tmp_path / "review.csv"), "--data", str(discs), "-o", str(tmp_path / output)]
    assert cli.run(command) == 2
    assert reason in capsys.readouterr().err
