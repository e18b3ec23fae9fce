"""Images are found in folders, on streams and in folders that are watched."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgeclf.verbs.shared.image_inputs import Images, collect_images, read_paths, watch_folders
from edgeclf_runtime.errors import DataError


def test_files_keep_their_order_and_folders_are_searched(photos: Path) -> None:
    named = str(photos / "notes.txt")
    found = collect_images([named, str(photos)])
    assert [Path(path).name for path in found.paths] == ["notes.txt", "blue.png", "green.png", "red.png"]
    assert found.others == 1


def test_a_folder_without_images_is_named(tmp_path: Path) -> None:
    assert collect_images([str(tmp_path)]) == Images((), 0, (str(tmp_path),))


def _stream(data: bytes) -> int:
    reader, writer = os.pipe()
    os.write(writer, data)
    os.close(writer)
    return reader


@pytest.mark.parametrize(
    ("data", "separator", "expected"),
    [
        (b"a.png\nb c.png\n\n\xff.png", b"\n", ["a.png", "b c.png", os.fsdecode(b"\xff.png")]),
        (b"a.png\r\nb.png\r\n", b"\n", ["a.png", "b.png"]),
        (b"two\nlines.png\0b.png\0", b"\0", ["two\nlines.png", "b.png"]),
        (b"", b"\n", []),
    ],
)
def test_paths_are_read_from_a_stream(data: bytes, separator: bytes, expected: list[str]) -> None:
    with open(_stream(data), "rb") as stream:
        groups = list(read_paths(stream, separator=separator))
    assert [path for group in groups for path in group.paths] == expected


def test_a_path_is_given_before_the_next_one_is_written() -> None:
    reader, writer = os.pipe()
    with open(reader, "rb") as stream:
        groups = read_paths(stream)
        os.write(writer, b"first.png\nsec")
        assert next(groups).paths == ("first.png",)
        os.write(writer, b"ond.png\n")
        assert next(groups).paths == ("second.png",)
        os.close(writer)
        assert list(groups) == []


class Scans:
    """Stands in for `sleep`: does the next step between two scans, and ends the watch after the last."""

    def __init__(self, *steps: Callable[[], object]) -> None:
        self._steps = iter(steps)

    def __call__(self, seconds: float) -> None:
        step = next(self._steps, None)
        if step is None:
            raise StopWatching
        step()


class StopWatching(Exception):
    pass


def nothing() -> None:
    pass


def _watched(folder: Path, *steps: Callable[[], object]) -> list[str]:
    def run() -> Iterator[Images]:
        try:
            yield from watch_folders([str(folder)], sleep=Scans(*steps))
        except StopWatching:
            return

    return [Path(path).name for group in run() for path in group.paths]


def test_a_file_is_taken_once_when_it_stopped_growing(tmp_path: Path) -> None:
    new = tmp_path / "new.png"

    def grow() -> None:
        with new.open("ab") as file:
            file.write(b"more")

    assert _watched(tmp_path, grow, grow, grow) == []
    assert _watched(tmp_path, grow, nothing, nothing, nothing) == ["new.png"]


def test_files_that_are_there_at_the_start_are_taken(photos: Path) -> None:
    assert _watched(photos, nothing, nothing) == ["blue.png", "green.png", "red.png"]


def test_a_replaced_file_is_taken_again(tmp_path: Path) -> None:
    latest = tmp_path / "latest.png"
    latest.write_bytes(b"one")

    def replace() -> None:
        (tmp_path / "draft").write_bytes(b"two")
        (tmp_path / "draft").rename(latest)

    assert _watched(tmp_path, nothing, replace, nothing, nothing) == ["latest.png", "latest.png"]


def test_a_file_that_vanishes_between_two_scans_is_forgotten(tmp_path: Path) -> None:
    brief = tmp_path / "brief.png"
    brief.write_bytes(b"x")
    assert _watched(tmp_path, brief.unlink, nothing) == []


def test_a_watched_folder_that_vanishes_is_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "inbox"
    folder.mkdir()
    with pytest.raises(DataError, match="inbox"):
        _watched(folder, folder.rmdir, nothing)


def test_two_watches_of_one_folder_do_not_share_state(photos: Path) -> None:
    answers: list[list[str]] = []
    watches = [threading.Thread(target=lambda: answers.append(_watched(photos, nothing, nothing))) for _ in range(2)]
    for watch in watches:
        watch.start()
    for watch in watches:
        watch.join()
    assert answers == [["blue.png", "green.png", "red.png"]] * 2
