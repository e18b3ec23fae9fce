"""Class names from files, and ImageNet's."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgeclf_export.sources.labels import default_labels, read_labels, shown_labels
from edgeclf_runtime.backends.torchvision_guard import guard_torchvision
from edgeclf_runtime.errors import DataError
from edgeclf_runtime.text.unicode_forms import shown_names

FRUIT = ("apple", "pear", "plum", "quince", "fig")


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
    ("data", "message"),
    [
        (b"", "holds no names; wanted one class name a line"),
        (b"\n\n", "holds no names"),
        (b"[]", "holds no names"),
        (b"apple\n\nfig", "name 2 of 3 is empty"),
        (b'["apple", ""  , "fig"]', "name 2 of 3 is empty"),
        (b"apple\nfig\napple", "the class 'apple' occurs 2 times"),
        (b"appl\xe9", r"not UTF-8 text \(byte 4\); save it as UTF-8"),
        (b"[apple, pear]", r"starts with '\[' and is no JSON list of names"),
        (b'["apple", 3]', "wanted a JSON list of names, found one that holds something else"),
        (b"[" * 100_000, r"starts with '\[' and is no JSON list"),
        (b'{"%s": "apple"}' % (b"9" * 5000), "wanted a JSON object of numbers and names"),
        (b'["apple", [[[[[]]]]]]', r"wanted a JSON list of names, found one that holds .* \(list\)"),
        (b'{"names":' * 900 + b'{"a": "b"}' + b"}" * 900, "wanted a JSON object of numbers and names"),
    ],
)
def test_a_wrong_file_says_what_is_wrong(data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_bytes(data)
    with pytest.raises(DataError, match=f"names.txt: {message}"):
        read_labels(tmp_path / "names.txt")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("l.json", '{"0": "apple", "1": "pear", "2": "fig"}'),
        ("l.json", '{"2": "fig", "0": "apple", "1": "pear"}'),
        ("l.txt", '{\n"0": "apple",\n"1": "pear",\n"2": "fig"\n}\n'),
        ("l.json", '{"apple": 0, "pear": 1, "fig": 2}'),
        ("l.json", '{"0": ["n1", "apple"], "1": ["n2", "pear"], "2": ["n3", "fig"]}'),
        ("config.json", '{"model_type": "vit", "id2label": {"0": "apple", "1": "pear", "2": "fig"}}'),
        ("l.json", '{"names": ["apple", "pear", "fig"]}'),
        ("clsidx_to_labels.txt", "{0: 'apple',\n 1: \"pear\",\n 2: 'fig'}"),
        ("l.txt", "['apple', 'pear', 'fig']"),
        ("l.json", '[{"id": 1, "name": "pear"}, {"id": 0, "name": "apple"}, {"id": 2, "name": "fig"}]'),
        ("data.yaml", "path: ../fruit\nnc: 3\nnames:\n  0: apple\n  1: pear\n  2: fig\n"),
        ("data.yml", "names: [apple, pear, fig]\n"),
        ("data.yaml", "names: {0: apple, 1: pear, 2: fig}\n"),
        ("data.yaml", "# fruit\n- apple\n- pear\n- fig\n"),
        ("data.yaml", '{"names": ["apple", "pear", "fig"]}'),
        ("names.txt", "names:\n  - apple\n  - pear\n  - fig\n"),
        ("l.csv", "apple\npear\nfig\n"),
        ("l.csv", "name\napple\npear\nfig\n"),
        ("l.csv", "0,apple\n1,pear\n2,fig\n"),
        ("l.csv", "id,name\r\n2,fig\r\n0,apple\r\n1,pear\r\n"),
        ("l.csv", 'index;class_name;colour\n0;"apple";red\n1;pear;green\n2;fig;blue\n'),
        ("l.tsv", "class_id\tlabel\n0\tapple\n1\tpear\n2\tfig\n"),
    ],
)
def test_label_files_of_other_tools_are_read(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    assert read_labels(tmp_path / name) == ("apple", "pear", "fig")


def test_yaml_names_stay_as_they_are_written(tmp_path: Path) -> None:
    (tmp_path / "l.yaml").write_text("names: [no, 3, 1e5, null, 2020-01-01]")
    assert read_labels(tmp_path / "l.yaml") == ("no", "3", "1e5", "null", "2020-01-01")


@pytest.mark.parametrize(("name", "text"), [("l.csv", "7\n8\n9\n"), ("l.txt", "7\n8\n9\n")])
def test_numbers_may_be_the_names_of_classes(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    assert read_labels(tmp_path / name) == ("7", "8", "9")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("l.json", '{"1": "apple", "2": "pear"}', "read 2 names, numbered 1 to 2; wanted 0 to 1, each once"),
        ("l.json", '{"0": "apple", "2": "pear"}', "read 2 names, numbered 0 to 2; wanted 0 to 1, each once"),
        ("l.json", '{"apple": 0, "pear": 0}', "read 2 names, numbered 0 to 0; wanted 0 to 1"),
        ("l.json", '{"0": "apple", "0": "pear"}', "no JSON object of names .a key occurs twice"),
        ("l.json", '{"apple": "red"}', r"""objects? of numbers and names such as .* found one with the keys 'apple'"""),
        ("l.json", '{"0": null}', "holds something else than text .NoneType None"),
        ("l.json", '"apple"', "wanted a JSON list or object of names, found str 'apple'"),
        ("l.txt", "{0: print()}", r"starts with '\{' and is no JSON object of names"),
        ("l.json", "{apple}", r"starts with '\{' and is no JSON object of names"),
        ("l.yaml", "names: [apple, pear", "not valid YAML"),
        ("l.yaml", "apple", "wanted a YAML list or object of names, found str 'apple'"),
        ("l.csv", "apple,red\npear,green\n", "2 of its 2 columns hold text .apple, red.; give the one with the class"),
        ("l.csv", "0,apple\n1\n", "row 2 has 1 cells, the first row has 2"),
        ("l.csv", "0,apple\n0,pear\n", "read 2 names, numbered 0 to 0"),
        (
            "l.txt",
            "caf\u00e9\ncafe\u0301\n",
            r"'café' \(caf\\xe9\) and 'cafe\u0301' \(cafe\\u0301\) differ only in their Unicode form",
        ),
    ],
)
def test_a_file_of_another_tool_says_what_is_wrong(name: str, text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=f"{name}: .*{message}") as failure:
        read_labels(tmp_path / name)
    assert "\n" not in str(failure.value)


def test_yaml_without_its_package_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    (tmp_path / "l.yaml").write_text("names: [apple]")
    with pytest.raises(DataError, match="is YAML; save the names one a line, or: pip install pyyaml"):
        read_labels(tmp_path / "l.yaml")


def test_long_lists_of_labels_are_shown_by_their_ends() -> None:
    assert shown_labels(["apple"]) == "1 label ('apple')"
    assert shown_labels(FRUIT[:3]) == "3 labels ('apple', 'pear', 'plum')"
    assert shown_labels(FRUIT) == "5 labels ('apple', 'pear', …, 'fig')"


def test_names_that_look_alike_are_spelt_out_where_two_sets_differ() -> None:
    assert shown_names(["caf\u00e9", "tea"], beside=["cafe\u0301", "milk"]) == [r"'café' (caf\xe9)", "'tea'"]


@pytest.mark.parametrize("name", ["nowhere.txt", "."])
def test_a_path_that_is_no_file_is_named(name: str, tmp_path: Path) -> None:
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
