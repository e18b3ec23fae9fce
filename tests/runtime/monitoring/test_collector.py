"""The collector: what is worth a label, each once, capped, bare of metadata; a full disk ends nothing else."""

from __future__ import annotations

import errno
import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.decision import Prediction, Score
from edgeclf_runtime.bundle.manifest import Thresholds
from edgeclf_runtime.errors import DataError, UsageError
from edgeclf_runtime.images.pixels import Pixels
from edgeclf_runtime.metrics.energy import EnergyThreshold
from edgeclf_runtime.monitoring.collector import CollectLimits, Collector
from edgeclf_runtime.monitoring.worth import why_worth_a_label

Make = Callable[..., Path]
SURE = Prediction("sure.png", "red", (Score("red", 0.98), Score("blue", 0.01)), energy=9.0)
TORN = Prediction("/home/anna/torn.png", "red", (Score("red", 0.48), Score("blue", 0.42)), energy=9.0)
UNKNOWN = Prediction("odd.png", "unknown", (Score("red", 0.98), Score("blue", 0.01)), unknown_by="energy", energy=1.0)


def shapes(seed: int, kind: str = "PNG") -> bytes:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x010E], exif[0x0112] = "a street in Bonn", 6
    Image.fromarray(coarse).resize((60, 40), Image.Resampling.BICUBIC).save(file, kind, exif=exif)
    return file.getvalue()


@pytest.fixture
def opened(bundle: Path) -> Bundle:
    return Bundle.open(bundle)


def test_unknown_and_near_predictions_are_worth_a_label_and_sure_ones_not(opened: Bundle) -> None:
    manifest = opened.manifest
    assert why_worth_a_label(SURE, manifest) is None
    assert why_worth_a_label(UNKNOWN, manifest) == "unknown"
    assert why_worth_a_label(TORN, manifest) == "near another class"
    assert why_worth_a_label(SURE, manifest, threshold=0.97) == "near a threshold"
    assert why_worth_a_label(SURE, manifest, threshold=0.5) is None


def test_an_energy_just_above_its_threshold_and_a_score_near_that_of_its_class_are_near(
    tmp_path: Path, make_bundle: Make
) -> None:
    energy = EnergyThreshold(8.8, 0.01, 100)
    near = Bundle.open(make_bundle(tmp_path / "e", thresholds=Thresholds(energy=energy))).manifest
    assert why_worth_a_label(SURE, near) == "near a threshold"
    classes = Bundle.open(make_bundle(tmp_path / "c", thresholds=Thresholds(per_class=(0.5, 0.98, 0.98)))).manifest
    assert why_worth_a_label(SURE, classes) is None


def test_images_are_kept_once_without_metadata_upright_and_with_the_prediction_beside(
    opened: Bundle, tmp_path: Path
) -> None:
    folder = tmp_path / "kept"
    collector = Collector(folder, opened, report=pytest.fail)
    for source in (shapes(1, "JPEG"), shapes(1, "PNG"), shapes(2, "PNG")):
        collector.offer(TORN, source)
    collector.offer(SURE, shapes(3))
    assert (collector.kept, collector.alike) == (2, 1)
    images = sorted(path for path in folder.iterdir() if path.suffix != ".json")
    assert sorted(path.suffix for path in images) == [".jpg", ".png"]
    for path in images:
        assert b"Bonn" not in path.read_bytes() and b"Exif" not in path.read_bytes()
        with Image.open(path) as image:
            assert image.size == (40, 60)  # turned as its orientation says
        about = json.loads(path.with_suffix(".json").read_text())
        assert about["why"] == "near another class" and about["bundle"] == opened.digest
        assert about["prediction"]["scores"][0] == {"label": "red", "probability": 0.48}
        assert about["prediction"]["source"] == "torn.png"  # no folder's name: it may be a person's
    again = Collector(folder, opened, report=pytest.fail)  # another day: what lies there is known
    again.offer(TORN, shapes(2))
    assert (again.kept, again.alike) == (0, 1)


def test_the_folder_is_capped_in_images_and_bytes_and_says_so_once(opened: Bundle, tmp_path: Path) -> None:
    said: list[str] = []
    few = Collector(tmp_path / "few", opened, limits=CollectLimits(images=2), report=said.append)
    small = Collector(tmp_path / "small", opened, limits=CollectLimits(megabytes=0.02), report=said.append)
    for seed in range(6):
        few.offer(TORN, shapes(seed))
        small.offer(TORN, shapes(seed))
    assert few.kept == 2 and 0 < small.kept < 6
    assert sum(path.stat().st_size for path in (tmp_path / "small").iterdir()) <= 20_000
    assert len(said) == 2 and "2 images lie in" in "".join(said) and "0.02 MB lie in" in "".join(said)


def test_two_bundles_that_differ_keep_the_image(opened: Bundle, tmp_path: Path) -> None:
    other = Prediction("sure.png", "blue", (Score("blue", 0.9), Score("red", 0.1)))
    collector = Collector(tmp_path / "kept", opened, other=lambda source: other, report=pytest.fail)
    collector.offer(SURE, shapes(1))
    (about,) = (json.loads(path.read_text()) for path in (tmp_path / "kept").glob("*.json"))
    assert (about["why"], about["other_prediction"]["label"]) == ("bundles differ", "blue")


def test_a_full_disk_is_reported_once_and_nothing_half_written_stays(
    opened: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    collector = Collector(tmp_path / "kept", opened, report=said.append)

    def full(self: Path, data: bytes) -> int:
        if self.name.endswith(".json.partial"):
            raise OSError(28, os.strerror(28))
        with self.open("wb") as file:
            return file.write(data)

    monkeypatch.setattr(Path, "write_bytes", full)
    for seed in range(3):
        collector.offer(TORN, shapes(seed))
        collector._rests_until = 0  # the minute is over
    assert len(said) == 1 and "No space left" in said[0] and "predictions go on" in said[0]
    assert list((tmp_path / "kept").iterdir()) == [] and collector.kept == 0
    monkeypatch.undo()
    collector.offer(TORN, shapes(9))
    assert collector.kept == 1


def test_a_disk_that_becomes_read_only_is_reported_and_ends_nothing(
    opened: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    collector = Collector(tmp_path / "kept", opened, report=said.append)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    collector.offer(TORN, shapes(0))
    assert collector.kept == 0 and len(said) == 1 and "Read-only" in said[0]


def test_collecting_begins_on_a_full_disk_and_goes_on_once_there_is_room(
    opened: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "touch", full)
    collector = Collector(tmp_path / "kept", opened, report=said.append)
    assert len(said) == 1 and "predictions go on" in said[0]
    collector._rests_until = 0  # the minute is over
    collector.offer(TORN, shapes(0))
    assert collector.kept == 1


def test_an_image_that_is_gone_or_damaged_by_now_is_passed_over(opened: Bundle, tmp_path: Path) -> None:
    collector = Collector(tmp_path / "kept", opened, report=pytest.fail)
    collector.offer(TORN, str(tmp_path / "gone.png"))
    collector.offer(TORN, b"no image")
    assert collector.kept == 0


def test_images_of_one_colour_are_alike(opened: Bundle, tmp_path: Path) -> None:
    collector = Collector(tmp_path / "kept", opened, report=pytest.fail)
    for grey in (0, 120, 250):
        collector.offer(TORN, np.full((40, 40, 3), grey, dtype=np.uint8))
    assert (collector.kept, collector.alike) == (1, 2)


def test_a_folder_that_cannot_be_made_and_images_of_16_bits_are_refused_at_once(
    opened: Bundle, tmp_path: Path, make_bundle: Make
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"--collect: .*file"):
        Collector(tmp_path / "file" / "kept", opened, report=pytest.fail)
    deep = Pixels("shorter", (8, 8), (8, 8), "bicubic", value_range=(0.0, 4095.0))
    with pytest.raises(UsageError, match="more than 8 bits"):
        Collector(tmp_path / "kept", Bundle.open(make_bundle(tmp_path / "deep", pixels=deep)), report=pytest.fail)
