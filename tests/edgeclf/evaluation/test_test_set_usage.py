"""Every use of test images is recorded."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edgeclf.evaluation.test_set_usage import LEDGER, TestUse, known_uses, new_use, record_test_use
from edgeclf_runtime.errors import DataError


def record(folder: Path, data: str = "d") -> TestUse:
    return record_test_use(folder, subject="s", data_sha256=data, images=5, verb="eval")


def test_uses_are_counted_for_each_data_apart(tmp_path: Path) -> None:
    assert [record(tmp_path).number, record(tmp_path, "other").number, record(tmp_path).number] == [1, 1, 2]
    lines = [json.loads(line) for line in (tmp_path / LEDGER).read_text().splitlines()]
    assert [line["data_sha256"] for line in lines] == ["d", "other", "d"]


def test_a_use_reads_as_a_sentence(tmp_path: Path) -> None:
    assert str(record(tmp_path)) == "5 test images, use no. 1 of this test split"


def test_a_line_that_was_cut_off_counts(tmp_path: Path) -> None:
    record(tmp_path, "d")
    with (tmp_path / LEDGER).open("a") as file:
        file.write('{"schema": 1, "data_')
    assert record(tmp_path).number == 3
    assert record(tmp_path).number == 4


def test_a_split_has_one_count_whatever_is_evaluated_on_it(tmp_path: Path) -> None:
    assert [record(tmp_path / place).number for place in ("run", "bundle.proofs", "other.proofs")] == [1, 2, 3]


def test_bundles_of_one_bench_use_the_split_once(tmp_path: Path) -> None:
    use = new_use()
    given = {"subject": "s", "data_sha256": "d", "images": 5, "verb": "bench", "use": use}
    assert [record_test_use(tmp_path / name, **given).number for name in ("a", "b")] == [1, 1]  # type: ignore[arg-type]
    assert record(tmp_path / "a").number == 2


def test_the_count_goes_on_where_a_bundle_travels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record(tmp_path / "run")
    carried = known_uses(tmp_path / "run", "d")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another machine"))
    given = {"subject": "s", "data_sha256": "d", "images": 5, "verb": "eval", "known": carried}
    assert record_test_use(tmp_path / "bundle.proofs", **given).number == 2  # type: ignore[arg-type]


def test_without_a_place_for_the_machines_ledger_the_one_beside_the_bundle_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    assert [record(tmp_path / place).number for place in ("a", "b", "a")] == [1, 1, 2]


def test_side_by_side_writers_get_different_numbers(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda _: record(tmp_path).number, range(40)))
    assert sorted(numbers) == list(range(1, 41))


def test_where_nothing_can_be_recorded_test_images_are_not_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="can't be recorded"):
        record(tmp_path / "file")
