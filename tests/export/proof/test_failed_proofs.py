"""A faulty export is never published: each planted fault ends it and is reported."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgeclf_export.exportable import Exportable
from edgeclf_export.exporter import export
from edgeclf_export.options import ExportOptions
from edgeclf_export.sources.modules import exportable_from_module
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.manifest import Normalization, Reference
from edgeclf_runtime.deploy.verify import verify
from edgeclf_runtime.errors import GateError
from edgeclf_runtime.images.pixels import Pixels

Wrap = Callable[..., Exportable]


@pytest.fixture(scope="module")
def wrap(fruit: tuple[str, ...], pixels: Pixels, normalization: Normalization) -> Wrap:
    def wrap(module: Any, normalization: Normalization = normalization) -> Exportable:
        exportable = exportable_from_module(
            module,
            labels=fruit,
            pixels=pixels,
            normalization=normalization,
            backbone="tiny",
            weights="by hand",
            reference=Reference("pytorch", "tiny"),
        )
        return replace(exportable, make_onnx=cache(exportable.make_onnx))

    return wrap


@pytest.fixture(scope="module")
def sound(net: Any, wrap: Wrap) -> Exportable:
    return wrap(net)


@pytest.fixture(scope="module")
def swapped(net: Any, wrap: Wrap) -> Exportable:
    """Two rows of the head changed places."""
    import torch

    wrong = copy.deepcopy(net)
    with torch.no_grad():
        for parameter in (wrong[4].weight, wrong[4].bias):
            parameter.copy_(parameter.roll(1, dims=0))
    return wrap(wrong)


@pytest.fixture(scope="module")
def nan(net: Any, wrap: Wrap) -> Exportable:
    """A weight of the head is NaN. (Of an earlier NaN OpenVINO's ReLU would make 0.)"""
    import torch

    wrong = copy.deepcopy(net)
    with torch.no_grad():
        wrong[4].weight[0, 0] = float("nan")
    return wrap(wrong)


def exported_as(sound: Exportable, wrong: Exportable) -> Exportable:
    """The reference of `sound` with the graph of `wrong`."""
    return replace(sound, make_onnx=wrong.make_onnx)


@pytest.mark.parametrize("target", ["onnx", "openvino"])
@pytest.mark.parametrize(
    ("wrong", "message"),
    [("swapped", "changed their top-1 prediction"), ("nan", "9 of 9 images gave NaN or infinite outputs")],
)
def test_wrong_weights_fail_and_are_kept_aside_with_their_proof(
    wrong: str, message: str, target: str, sound: Exportable, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    with pytest.raises(GateError) as failure:
        planted = exported_as(sound, request.getfixturevalue(wrong))
        list(export(planted, ExportOptions((target,), output=tmp_path)))
    assert f"tiny-{target}-fp32 differs from its reference: engine: " in str(failure.value)
    assert message in str(failure.value)
    assert [path.name for path in tmp_path.iterdir()] == [f"tiny-{target}-fp32.failed"]
    kept = Bundle.open(tmp_path / f"tiny-{target}-fp32.failed")
    assert f"kept aside as {kept.path}" in str(failure.value)
    assert kept.manifest.proof is not None and kept.manifest.proof.verdict == "fail"
    assert any(message in reason for reason in kept.manifest.proof.reasons)
    assert verify(kept).verdict == "fail"


def test_a_reference_that_gives_nan_is_refused_before_anything_is_built(nan: Exportable, tmp_path: Path) -> None:
    with pytest.raises(GateError, match="tiny itself gives NaN or infinite outputs for 9 of 9 items"):
        list(export(nan, ExportOptions(output=tmp_path)))
    assert not list(tmp_path.iterdir())


def test_a_wrong_normalisation_in_the_graph_fails(net: Any, sound: Exportable, wrap: Wrap, tmp_path: Path) -> None:
    without = wrap(net, Normalization((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)))
    with pytest.raises(GateError, match=r"logits differ by \S+ of their range, tolerated 0.0001"):
        list(export(exported_as(sound, without), ExportOptions(output=tmp_path)))


def test_a_slightly_wrong_mean_fails_too(net: Any, sound: Exportable, wrap: Wrap, tmp_path: Path) -> None:
    close = replace(sound.normalization, mean=(0.485, 0.456, 0.410))
    with pytest.raises(GateError, match="logits differ"):
        list(export(exported_as(sound, wrap(net, close)), ExportOptions(output=tmp_path)))


def test_a_failed_export_leaves_the_earlier_good_bundle_in_place(
    sound: Exportable, swapped: Exportable, tmp_path: Path
) -> None:
    (good,) = export(sound, ExportOptions(output=tmp_path))
    before = Bundle.open(good.path).digest
    with pytest.raises(GateError):
        list(export(exported_as(sound, swapped), ExportOptions(output=tmp_path, force=True)))
    assert Bundle.open(good.path).digest == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny-onnx-fp32", "tiny-onnx-fp32.failed"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"interpolation": "nearest"}, r"preprocessing: \S+ comes out up to \d+ levels off the evaluation transform"),
        ({"resize_px": (66, 66)}, r"preprocessing: \S+ comes out up to \d+ levels off"),
        ({"resize": "exact"}, r"preprocessing: \S+ comes out up to \d+ levels off"),
        ({"crop_px": (60, 60)}, r"preprocessing: \S+ comes out as \(60, 60, 3\) where \(64, 64, 3\) is wanted"),
    ],
)  # fmt: skip
def test_pixels_that_differ_from_the_librarys_fail_before_anything_is_built(
    changes: dict[str, Any], message: str, load: Callable[[str], Exportable], tmp_path: Path
) -> None:
    exportable = load("test_resnet")
    planted = replace(exportable, pixels=replace(exportable.pixels, **changes))
    with pytest.raises(GateError, match=message):
        list(export(planted, ExportOptions(output=tmp_path)))
    assert not list(tmp_path.iterdir())


def test_tall_images_which_pillow_13_rounds_differently_are_no_preprocessing_fault(
    load: Callable[[str], Exportable], photographs: list[Path], tmp_path: Path
) -> None:
    for number, path in enumerate(photographs):
        Image.open(path).convert("RGB").resize((90 + number, 211)).save(tmp_path / f"{number}.png")
    options = ExportOptions(("pytorch",), output=tmp_path / "out", proof_data=tmp_path)
    (exported,) = export(load("test_resnet"), options)
    assert exported.proof.verdict == "pass"


def test_a_value_range_for_16_bit_images_is_no_preprocessing_fault(
    load: Callable[[str], Exportable], tmp_path: Path
) -> None:
    for seed in range(8):
        levels = np.random.default_rng(seed).integers(0, 4096, (80, 90), dtype=np.uint16)
        Image.fromarray(levels).save(tmp_path / f"{seed}.png")
    exportable = load("test_resnet")
    twelve_bits = replace(exportable, pixels=replace(exportable.pixels, value_range=(0.0, 4095.0)))
    (exported,) = export(twelve_bits, ExportOptions(("pytorch",), output=tmp_path / "out", proof_data=tmp_path))
    assert exported.proof.verdict == "pass"
    assert Bundle.open(exported.path).manifest.pixels == twelve_bits.pixels
