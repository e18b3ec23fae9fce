"""The images that an export is proven on: the user's own, or photographs that come with other packages."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgeclf_export.exporter import export_module
from edgeclf_export.options import ExportOptions
from edgeclf_export.proof.images import GOLDEN_IMAGES, load_proof_images, shipped_photographs
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.manifest import Normalization
from edgeclf_runtime.errors import BackendError, DataError
from edgeclf_runtime.images.pixels import Pixels
from edgeclf_runtime.installing import pip_install


def test_there_are_enough_shipped_photographs_and_they_differ(pixels: Pixels) -> None:
    files = shipped_photographs()
    assert len(files) >= GOLDEN_IMAGES
    assert len({path.read_bytes() for path in files}) == len(files)
    images = load_proof_images(pixels)
    assert images.pixels.shape == (len(files), 32, 32, 3) and images.source == "shipped photographs"


def test_without_the_packages_the_message_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeclf_export.proof.images.find_spec", lambda package: None)
    with pytest.raises(
        BackendError, match=re.escape(f"give --proof-data DIR, or install it with: {pip_install('export')}")
    ):
        shipped_photographs()


def test_few_images_give_an_inconclusive_proof_that_says_how_many_are_missing(
    net: Any, few_images: Path, pixels: Pixels, normalization: Normalization, fruit: tuple[str, ...], tmp_path: Path
) -> None:
    options = ExportOptions(proof_data=few_images, output=tmp_path / "bundles")
    (exported,) = export_module(net, pixels, fruit, options, normalization=normalization)
    assert exported.proof.verdict == "inconclusive"
    assert exported.proof.reasons == ("engine: 3 images are too few for a verdict; 5 more are needed",)
    assert exported.proof.images_source == "few: 3 of 3 images"
    assert len(Bundle.open(exported.path).manifest.golden.images) == 3


def test_a_large_folder_is_sampled_evenly_for_proof_and_golden_images(tmp_path: Path, pixels: Pixels) -> None:
    for number in range(40):
        Image.new("RGB", (40, 40), (number, 0, 0)).save(tmp_path / f"{number:02}.png")
    images = load_proof_images(pixels, tmp_path, most=20)
    assert [path.stem for path in images.files[:3]] == ["00", "02", "04"] and len(images.files) == 20
    assert len(images.golden) == GOLDEN_IMAGES and images.golden[-1] >= 17
    assert images.source.endswith("20 of 40 images")
    np.testing.assert_array_equal(images.pixels[1], np.full((32, 32, 3), (2, 0, 0)))


@pytest.mark.parametrize("name", ["nowhere", "empty", "file.png"])
def test_a_folder_without_images_is_refused_by_name(name: str, tmp_path: Path, pixels: Pixels) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no image")
    Image.new("RGB", (4, 4)).save(tmp_path / "file.png")
    with pytest.raises(DataError, match=name):
        load_proof_images(pixels, tmp_path / name)


def test_an_unreadable_image_is_named(few_images: Path, pixels: Pixels) -> None:
    (few_images / "broken.jpg").write_bytes(b"\xff\xd8 no image")
    with pytest.raises(DataError, match=r"broken\.jpg: .*take it out of the proof images"):
        load_proof_images(pixels, few_images)
