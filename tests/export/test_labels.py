"""Class names from files, and ImageNet's."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeclf_export.labels import default_labels, read_labels
from edgeclf_runtime.errors import DataError
from edgeclf_runtime.torchvision_guard import guard_torchvision


@pytest.mark.parametrize(
    "data",
    [
        b"apple\npear\nfig\n",
        b"apple\r\npear\r\nfig\r\n\r\n",
        b"\xef\xbb\xbfapple\npear\nfig",
        b" apple \n\tpear\nfig",
        b'["apple", "pear", "fig"]',
        b'\n [\n"apple", "pear ",\n"fig"]\n',
    ],
)
def test_text_and_json_lists_are_read(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_bytes(data)
    assert read_labels(tmp_path / "names.txt") == ("apple", "pear", "fig")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "holds no names; wanted one class name a line"),
        (b"\n\n", "holds no names"),
        (b"[]", "holds no names"),
        (b"apple\n\nfig", "name 2 of 3 is empty"),
        (b'["apple", ""  , "fig"]', "name 2 of 3 is empty"),
        (b"apple\nfig\napple", "the class 'apple' is there 2 times"),
        (b"appl\xe9", r"not UTF-8 text \(byte 4\); save it as UTF-8"),
        (b"[apple, pear]", r"starts with '\[' and is no JSON list of names"),
        (b'["apple", 3]', "wanted a JSON list of names, found one that holds something else"),
        (b"[" * 100_000, r"starts with '\[' and is no JSON list"),
    ],
)
def test_a_wrong_file_says_what_is_wrong(data: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_bytes(data)
    with pytest.raises(DataError, match=f"names.txt: {said}"):
        read_labels(tmp_path / "names.txt")


@pytest.mark.parametrize("name", ["nowhere.txt", "."])
def test_what_is_no_file_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="wanted a text file with one class name a line"):
        read_labels(tmp_path / name)


def test_a_thousand_classes_are_imagenets_unique_and_in_order() -> None:
    guard_torchvision()
    names = default_labels(1000)
    assert len(set(names)) == 1000
    assert [names[i] for i in (0, 1, 281, 282, 504, 657, 967, 999)] == [
        "tench",
        "goldfish",
        "tabby",
        "tiger cat",
        "coffee mug",
        "missile",
        "espresso",
        "toilet tissue",
    ]
    assert [names[i] for i in (134, 517)] == ["crane (n02012849)", "crane (n03126707)"]


def test_other_counts_are_numbered() -> None:
    assert default_labels(3) == ("class_0", "class_1", "class_2")
