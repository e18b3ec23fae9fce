"""No look at test images goes unrecorded."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edgeclf.judging.ledger import LEDGER, TestUse, record_test_use
from edgeclf_runtime.errors import DataError


def record(folder: Path, data: str = "d") -> TestUse:
    return record_test_use(folder, subject="s", data_sha256=data, images=5, verb="eval")


def test_uses_are_counted_for_each_data_apart(tmp_path: Path) -> None:
    assert [record(tmp_path).number, record(tmp_path, "other").number, record(tmp_path).number] == [1, 1, 2]
    lines = [json.loads(line) for line in (tmp_path / LEDGER).read_text().splitlines()]
    assert [line["data_sha256"] for line in lines] == ["d", "other", "d"]


def test_a_use_reads_as_a_sentence(tmp_path: Path) -> None:
    assert str(record(tmp_path)) == "test images used: 5, evaluation no. 1"


def test_a_line_that_was_cut_off_counts(tmp_path: Path) -> None:
    record(tmp_path)
    with (tmp_path / LEDGER).open("a") as file:
        file.write('{"schema": 1, "data_')
    assert record(tmp_path).number == 3
    assert record(tmp_path).number == 4


def test_side_by_side_writers_get_different_numbers(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda _: record(tmp_path).number, range(40)))
    assert sorted(numbers) == list(range(1, 41))


def test_where_nothing_can_be_written_test_images_are_not_looked_at(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="can't be recorded"):
        record(tmp_path / "file")
