"""Hashes that are kept between commands: what has not changed is not read again, and nothing depends on them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeclf.data import check, hashed, kept_hashes
from edgeclf.data.check import Checked, check_source
from edgeclf.data.sources import read_dataset
from edgeclf.data.split import split_dataset
from edgeclf.data.usable import find_unusable
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.images.labelled import CHANGED, LabelledImage
from edgeclf_runtime.machine.state_folder import state_folder
from edgeclf_runtime.progress import Progress

MakeFolder = Callable[[dict[str, int]], Path]


class Notes(Progress):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, sentence: str, figures: object = None) -> None:
        self.notes.append(sentence)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of images that were read, whatever for; files may be as new as they like."""
    monkeypatch.setattr(kept_hashes, "_SETTLED_NS", 0)
    names: list[str] = []
    summarise, hash_image, likeness_of = check._summarise, hashed.hash_image, check.likeness_of

    def summarise_and_tell(image: LabelledImage) -> object:
        names.append(image.name)
        return summarise(image)

    def hash_and_tell(path: Path) -> str:
        names.append(path.name)
        return hash_image(path)

    def look_again_and_tell(path: Path) -> object:
        names.append(f"{path.parent.name}/{path.name}")
        return likeness_of(path)

    check_image = LabelledImage.check

    def check_and_tell(image: LabelledImage, value_range: tuple[float, float] | None = None) -> None:
        names.append(image.name)
        check_image(image, value_range)

    monkeypatch.setattr(LabelledImage, "check", check_and_tell)
    monkeypatch.setattr(check, "_summarise", summarise_and_tell)
    monkeypatch.setattr(check, "likeness_of", look_again_and_tell)
    monkeypatch.setattr(hashed, "hash_image", hash_and_tell)
    return names


@pytest.fixture
def root(make_folder: MakeFolder) -> Path:
    """12 images, one of them the look-alike of another and one its copy, and a file that is no image."""
    folder = make_folder({"cat": 5, "dog": 5})
    from PIL import Image, ImageEnhance

    with Image.open(folder / "cat" / "001.png") as image:
        ImageEnhance.Brightness(image).enhance(0.9).save(folder / "cat" / "darker.png")
    shutil.copy(folder / "cat" / "002.png", folder / "dog" / "copy.png")
    (folder / "dog" / "broken.png").write_bytes(b"no image")
    return folder


def found(checked: Checked) -> tuple[object, ...]:
    return (checked.unreadable, checked.copies, checked.alike, checked.odd, checked.deep)


def split(root: Path, *, rehash: bool = False) -> DataSplit:
    return split_dataset(read_dataset(root), rehash=rehash)


def test_a_second_check_finds_the_same_and_reads_only_what_it_has_to(root: Path, read: list[str]) -> None:
    first = check_source(root)
    assert len(read) == 13 and len(first.alike) == 1 and len(first.copies) == 1
    read.clear()
    notes = Notes()
    assert found(check_source(root, progress=notes)) == found(first)
    assert sorted(read) == [
        "cat/001.png",
        "cat/darker.png",
        "dog/broken.png",
    ]  # a pair is looked at, an error tried again
    assert notes.notes[0].startswith("hashes of 12 of 13 images are those of an earlier command")


def test_a_split_after_a_check_reads_no_image_and_a_changed_file_is_read_again(root: Path, read: list[str]) -> None:
    (root / "dog" / "broken.png").unlink()
    check_source(root)
    read.clear()
    before = split(root)
    assert read == []
    place = root / "cat" / "003.png"
    times = place.stat()
    place.write_bytes(place.read_bytes()[:-1] + b"x")  # the same size
    os.utime(place, ns=(times.st_atime_ns, times.st_mtime_ns))  # and the same time
    after = split(root)
    assert read == ["003.png"] and after.digest != before.digest
    assert split(root, rehash=True).digest == after.digest and len(read) == 13


def test_files_of_the_last_seconds_are_not_kept(root: Path, read: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_hashes, "_SETTLED_NS", 60_000_000_000)
    check_source(root)
    check_source(root)
    assert len(read) == 26


@pytest.mark.parametrize("fault", ["no home", "a file in the way", "damaged", "overwritten", "busy"])
def test_without_the_state_folder_everything_is_read_and_found_as_ever(
    fault: str, root: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sqlite3

    wanted = found(check_source(root))
    (place,) = (state_folder() / kept_hashes.FOLDER).iterdir()
    assert place.stat().st_mode & 0o777 == 0o600
    holder = sqlite3.connect(place)
    if fault == "no home":
        monkeypatch.setattr(kept_hashes, "state_folder", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    elif fault == "a file in the way":
        shutil.rmtree(place.parent)
        place.parent.write_bytes(b"")
    elif fault == "damaged":
        place.write_bytes(b"no database" * 1000)
    elif fault == "overwritten":
        holder.execute("UPDATE files SET measured = '[1]'")
        holder.commit()
    else:
        monkeypatch.setattr(kept_hashes, "_BUSY_S", 0.01)
        holder.execute("BEGIN EXCLUSIVE")
    read.clear()
    assert found(check_source(root)) == wanted
    assert len(read) == 13
    holder.close()


@pytest.mark.parametrize("after_a_check", [True, False])
def test_a_training_decodes_no_image_that_an_earlier_command_has_decoded(
    after_a_check: bool, root: Path, read: list[str]
) -> None:
    data = split(root)
    if after_a_check:
        check_source(root)
    else:
        assert [each.path for each in find_unusable(data.images)] == ["dog/broken.png"]
        assert len(read) == 26  # hashed, then decoded
    read.clear()
    (broken,) = find_unusable(data.images)
    assert broken.path == "dog/broken.png" and read == ["dog/broken.png"]
    read.clear()
    assert (
        len(find_unusable(data.images, (0.0, 255.0))) == 1 and len(read) == 13
    )  # what a value range gives is not kept
    read.clear()
    place = root / "cat" / "003.png"
    place.write_bytes(place.read_bytes() + b"x")
    found = {each.path: each.error for each in find_unusable(data.images)}
    assert sorted(read) == ["cat/003.png", "dog/broken.png"] and found["cat/003.png"] == CHANGED
    check_source(root)  # now the file as it is now is known
    read.clear()
    assert {each.path: each.error for each in find_unusable(data.images)}["cat/003.png"] == CHANGED
    assert read == ["dog/broken.png"]


def test_a_check_measures_what_a_training_has_only_decoded(root: Path, read: list[str]) -> None:
    find_unusable(split(root).images)
    read.clear()
    assert len(check_source(root).alike) == 1
    assert len(read) == 13
