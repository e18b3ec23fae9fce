"""A faulty export is never published: each planted fault ends it and is reported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper
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

Constants = dict[str, NDArray[np.float32]]


@pytest.fixture(scope="module")
def sound(net: Any, fruit: tuple[str, ...], pixels: Pixels, normalization: Normalization) -> Exportable:
    exportable = exportable_from_module(
        net,
        labels=fruit,
        pixels=pixels,
        normalization=normalization,
        backbone="tiny",
        weights="by hand",
        reference=Reference("pytorch", "tiny"),
    )
    return replace(exportable, make_onnx=cache(exportable.make_onnx))


def with_fault(sound: Exportable, plant: Callable[[Constants], None]) -> Exportable:
    """The reference of `sound`, and its graph with other constants: `plant` changes them in place.

    Their names are the head's and the normalisation's: "weight", "bias", "scale" and "shift".
    """

    def make_onnx(form: str, opset: int) -> bytes:
        model = onnx.load_from_string(sound.make_onnx(form, opset))
        (head,) = (node for node in model.graph.node if node.op_type == "Gemm")
        called = {head.input[1]: "weight", head.input[2]: "bias", "scale": "scale", "shift": "shift"}
        items = {called[item.name]: item for item in model.graph.initializer if item.name in called}
        constants = {name: numpy_helper.to_array(item).copy() for name, item in items.items()}
        plant(constants)
        for name, item in items.items():
            item.CopyFrom(numpy_helper.from_array(constants[name], item.name))
        return bytes(model.SerializeToString())

    return replace(sound, make_onnx=make_onnx)


def swap_rows(constants: Constants) -> None:
    """Of the head: its classes change places."""
    for name in ("weight", "bias"):
        classes = constants[name].shape.index(len(constants["bias"]))
        constants[name][:] = np.roll(constants[name], 1, axis=classes)


def put_nan(constants: Constants) -> None:
    """Into a weight of the head. (Of an earlier NaN OpenVINO's ReLU would make 0.)"""
    constants["weight"][0, 0] = np.nan


def normalise_by(mean: tuple[float, ...], std: tuple[float, ...]) -> Callable[[Constants], None]:
    def plant(constants: Constants) -> None:
        constants["scale"].flat = 1 / (255 * np.array(std))
        constants["shift"].flat = -np.array(mean) / std

    return plant


@pytest.mark.parametrize("target", ["onnx", "openvino"])
@pytest.mark.parametrize(
    ("wrong", "message"),
    [(swap_rows, "changed their top-1 prediction"), (put_nan, "9 of 9 images gave NaN or infinite outputs")],
)
def test_wrong_weights_fail_and_are_kept_aside_with_their_proof(
    wrong: Callable[[Constants], None], message: str, target: str, sound: Exportable, tmp_path: Path
) -> None:
    with pytest.raises(GateError) as failure:
        list(export(with_fault(sound, wrong), ExportOptions((target,), output=tmp_path)))
    assert f"tiny-{target}-fp32 differs from its reference: engine: " in str(failure.value)
    assert message in str(failure.value)
    assert [path.name for path in tmp_path.iterdir()] == [f"tiny-{target}-fp32.failed"]
    kept = Bundle.open(tmp_path / f"tiny-{target}-fp32.failed")
    assert f"kept aside as {kept.path}" in str(failure.value)
    assert kept.manifest.proof is not None and kept.manifest.proof.verdict == "fail"
    assert any(message in reason for reason in kept.manifest.proof.reasons)
    assert verify(kept).verdict == "fail"


def test_a_reference_that_gives_nan_is_refused_before_anything_is_built(sound: Exportable, tmp_path: Path) -> None:
    def nan(batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        logits = sound.run_reference(batch)
        logits[:, 0] = np.nan
        return logits

    with pytest.raises(GateError, match="tiny itself gives NaN or infinite outputs for 9 of 9 items"):
        list(export(replace(sound, run_reference=nan), ExportOptions(output=tmp_path)))
    assert not list(tmp_path.iterdir())


def test_a_graph_whose_constants_are_written_anew_passes(sound: Exportable, tmp_path: Path) -> None:
    """Or the tests here would find the writing, and not the fault."""
    same = normalise_by(sound.normalization.mean, sound.normalization.std)
    (exported,) = export(with_fault(sound, same), ExportOptions(output=tmp_path))
    assert exported.proof.verdict == "pass"


@pytest.mark.parametrize(
    ("mean", "std"), [((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)), ((0.485, 0.456, 0.410), (0.229, 0.224, 0.225))]
)
def test_a_wrong_normalisation_in_the_graph_fails_though_only_slightly_wrong(
    mean: tuple[float, ...], std: tuple[float, ...], sound: Exportable, tmp_path: Path
) -> None:
    with pytest.raises(GateError, match=r"logits differ by \S+ of their range, tolerated 0.0001"):
        list(export(with_fault(sound, normalise_by(mean, std)), ExportOptions(output=tmp_path)))


def test_a_failed_export_leaves_the_earlier_good_bundle_in_place(sound: Exportable, tmp_path: Path) -> None:
    (good,) = export(sound, ExportOptions(output=tmp_path))
    before = Bundle.open(good.path).digest
    with pytest.raises(GateError):
        list(export(with_fault(sound, swap_rows), ExportOptions(output=tmp_path, force=True)))
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
