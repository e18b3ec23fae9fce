"""Channel statistics and the advice that follows from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeclf.data.bit_depth import DeepImages
from edgeclf.data.sources import read_dataset
from edgeclf.data.stats import (
    IMAGENET,
    Statistics,
    advise,
    backbone_statistics,
    data_normalization,
    measure,
)
from edgeclf_runtime.bundle.manifest import Normalization
from edgeclf_runtime.errors import DataError, UsageError

MakeFolder = Callable[[dict[str, int]], Path]
PLAIN = Normalization((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def measured(root: Path) -> Statistics:
    return measure(read_dataset(root))


def test_mean_and_std_are_those_of_numpy(make_folder: MakeFolder) -> None:
    root = make_folder({"cat": 4, "dog": 3})
    found = measured(root)
    pixels = np.concatenate([np.asarray(Image.open(path)).reshape(-1, 3) for path in root.rglob("*.png")]) / 255
    np.testing.assert_allclose(found.mean, pixels.mean(axis=0), atol=1e-9)
    np.testing.assert_allclose(found.std, pixels.std(axis=0), atol=1e-9)
    assert found.counts == {"cat": 4, "dog": 3} and found.images == 7 and found.split is None


def test_only_the_training_split_is_read(make_folder: MakeFolder) -> None:
    root = make_folder({"train/cat": 2, "train/dog": 2, "test/cat": 2})
    (root / "test" / "cat" / "000.png").write_bytes(b"")
    found = measured(root)
    assert found.images == 4 and found.split == "train"


def test_a_large_image_weighs_as_much_as_a_small_one(make_folder: MakeFolder) -> None:
    root = make_folder({"cat": 0, "dog": 0})
    Image.new("RGB", (100, 80), "white").save(root / "cat" / "large.png")
    Image.new("RGB", (8, 6), "black").save(root / "dog" / "small.png")
    found = measured(root)
    assert found.mean == (0.5, 0.5, 0.5) and found.std == (0.5, 0.5, 0.5)
    assert (found.width_px.least, found.width_px.median, found.width_px.most) == (8, 54, 100)
    assert found.megapixels.most == pytest.approx(0.008)
    assert found.grey_share == 1


def test_an_unusable_image_is_left_out_and_named_unless_strict_or_there_are_too_many(make_folder: MakeFolder) -> None:
    root = make_folder({"cat": 2, "dog": 2})
    whole = measured(root)
    (root / "dog" / "000.png").write_text("no image")
    found = measured(root)
    (bad,) = found.left_out
    assert bad.path == "dog/000.png" and "not an image of a known format" in bad.error
    assert (found.images, found.counts) == (3, {"cat": 2, "dog": 1}) and found.mean != whole.mean
    with pytest.raises(DataError, match=r"1 of 4 images can't be used: dog/000\.png .*without --strict"):
        measure(read_dataset(root), strict=True)
    for name in ("000.png", "001.png"):
        (root / "cat" / name).write_text("no image")
    with pytest.raises(DataError, match="3 of 4 images can't be used"):
        measured(root)


@pytest.fixture
def photographs(make_folder: MakeFolder) -> Statistics:
    found = measured(make_folder({"cat": 1, "dog": 1}))
    return replace(found, mean=(0.49, 0.48, 0.45), std=(0.25, 0.24, 0.26), grey_share=0.0)


def test_photographs_keep_the_backbones_statistics(photographs: Statistics) -> None:
    for backbone in (IMAGENET, PLAIN):
        advice = advise(photographs, backbone)
        assert advice.normalize == "backbone" and "close enough" in advice.reason
        assert advice.shift_stds == pytest.approx((0.45 - 0.406) / 0.225)


def test_dark_grey_images_take_their_own(photographs: Statistics) -> None:
    xrays = replace(photographs, mean=(0.13,) * 3, std=(0.3,) * 3, grey_share=1.0, deep=DeepImages(2, 60_000))
    advice = advise(xrays)
    assert advice.normalize == "data" and "too far" in advice.reason
    assert any("grey images" in note for note in advice.notes) and any("X-rays" in note for note in advice.notes)


def test_low_contrast_is_noted(photographs: Statistics) -> None:
    advice = advise(replace(photographs, std=(0.004,) * 3))
    assert advice.normalize == "data"
    assert any("bit depth" in note for note in advice.notes)


@pytest.mark.parametrize("backbone", [IMAGENET, PLAIN, Normalization((0.48, 0.46, 0.41), (0.27, 0.26, 0.28))])
def test_the_datas_normalisation_gives_the_inputs_that_the_backbone_was_trained_on(
    photographs: Statistics, backbone: Normalization
) -> None:
    found = replace(photographs, mean=(0.1, 0.2, 0.3), std=(0.05, 0.1, 0.4))
    own = data_normalization(found, backbone)
    seen = IMAGENET if backbone is PLAIN else backbone
    for channel in range(3):
        wanted_mean = (seen.mean[channel] - backbone.mean[channel]) / backbone.std[channel]
        wanted_std = seen.std[channel] / backbone.std[channel]
        assert (found.mean[channel] - own.mean[channel]) / own.std[channel] == pytest.approx(wanted_mean)
        assert found.std[channel] / own.std[channel] == pytest.approx(wanted_std)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mobilenetv3_large_100", IMAGENET),
        ("tf_efficientnet_lite0", PLAIN),
        ("torchvision/resnet50", IMAGENET),
    ],
)
def test_a_backbone_states_its_statistics_without_weights(name: str, expected: Normalization) -> None:
    assert backbone_statistics(name) == expected


def test_an_unknown_backbone_is_a_usage_error(make_folder: MakeFolder) -> None:
    with pytest.raises(UsageError, match="did you mean"):
        backbone_statistics("mobilenetv3_large_10")
