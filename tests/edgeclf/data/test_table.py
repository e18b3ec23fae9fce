"""CSVs of labelled images: what is read, and the line that each fault gets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgeclf.data.sources import read_dataset
from edgeclf_runtime.errors import DataError

MakeFolder = Callable[[dict[str, int]], Path]
ROWS = "cat/000.png,cat\ndog/000.png,dog\n"


@pytest.fixture
def folder(make_folder: MakeFolder) -> Path:
    return make_folder({"cat": 2, "dog": 2})


def write(folder: Path, text: str | bytes) -> Path:
    table = folder / "labels.csv"
    table.write_bytes(text if isinstance(text, bytes) else text.encode())
    return table


def test_labels_splits_and_groups_are_read(folder: Path) -> None:
    table = write(
        folder,
        "\ufeffPath, Label,split,group,camera\n"
        'cat/000.png,cat,train,tom,A\n./cat/001.png,cat,valid,,B\n\n"dog/000.png","dog, wild",test,rex,C\n',
    )
    found = read_dataset(table)
    assert found.root == folder and found.classes == ("cat", "dog, wild")
    assert [(each.name, each.split, each.group) for each in found.images] == [
        ("cat/000.png", "train", "tom"),
        ("cat/001.png", "val", None),
        ("dog/000.png", "test", "rex"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,class\n" + ROWS, "no column path and label; wanted path,label[,split][,group], found 'file', 'class'"),
        ("path;label\ncat/000.png;cat\n", "found 'path;label'"),
        ("path,label,path\n", "two columns 'path'"),
        ("", "no column path and label"),
        ("path,label\n", "no rows, so no images"),
        ("path,label,split\ncat/000.png,cat,holdout\n", "line 2: no split 'holdout'; choose one of train, val, test"),
        ("path,label,split\ncat/000.png,cat,train\ndog/000.png,dog,\n", "1 of 2 rows have no split"),
        ("path,label\ncat/000.png,cat\ncat/009.png,cat\n", "'cat/009.png' (line 3: No such file or directory)"),
        ("path,label\ncat,cat\n", "'cat' (line 2: no file)"),
        ("path,label\n../secret.png,cat\n", "line 2: the path '../secret.png' leaves the CSV's folder"),
        ("path,label\ncat/../../secret.png,cat\n", "leaves the CSV's folder"),
        ("path,label\n/etc/passwd,cat\n", "line 2: the path '/etc/passwd' is absolute"),
        ("path,label\n,cat\n", "line 2: no path"),
        ("path,label\ncat/000.png, \n", "line 2: no label"),
        ("path,label\ncat/000.png,cat\ncat/./000.png,cat\n", "line 3: 'cat/000.png' is named in line 2 already"),
        ("path,label\ncat/000.png,cat\ncat/000.png,dog\n", "is named in line 2 already"),
        ("path,label\ncat/000.png,cat,tabby\n", "line 2: 3 cells for 2 columns"),
        ('path,label\n"cat/000.png,cat\n', "not a valid CSV"),
        (b"path,label\ncat/000.png,ch\xe2t\n", "not UTF-8 (byte 25); save it as UTF-8"),
        ("path,label\ncat/000.png,cat\n", "one class only"),
        ("path,label\ncat/000.png,cat\ndog/000.png,Cat\n", "differ only by case"),
    ],
)
def test_each_fault_has_its_line(folder: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(DataError) as caught:
        read_dataset(write(folder, text))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_null_byte_in_a_path_is_a_fault_of_the_table(folder: Path) -> None:
    with pytest.raises(DataError):
        read_dataset(write(folder, "path,label\ncat/\0.png,cat\n"))


def test_many_missing_files_are_counted(folder: Path) -> None:
    rows = "".join(f"gone/{number}.png,cat\n" for number in range(12))
    with pytest.raises(DataError, match="and 9 more"):
        read_dataset(write(folder, "path,label\n" + rows))
