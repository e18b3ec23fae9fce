"""Bundles for OpenVINO Model Server and for DeepStream's nvinfer: what their published formats ask for."""

from __future__ import annotations

import configparser
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny

from edgeclf_export.targets import deepstream, ovms, triton
from edgeclf_runtime.backends.ov import openvino_core
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.manifest import Normalization, TensorSpec, Thresholds
from edgeclf_runtime.errors import DataError, UsageError
from edgeclf_runtime.session import open_session


def test_ovms_gets_a_version_folder_and_the_precision_that_was_proven(tmp_path: Path) -> None:
    for name, precision in (("first", "fp32"), ("second", "bf16"), ("first", "fp32")):
        folder = tmp_path / name
        if not folder.exists():
            tiny.build(folder, "openvino")
        bundle = tiny.reseal(folder, compute_precision=precision)
        place = ovms.write_model(bundle, tmp_path / "ovms", force=True)
    assert (place / "1/model.xml").read_bytes() == bundle.read("model.xml")
    assert (place / "1/model.bin").read_bytes() == bundle.read("model.bin")
    entries = json.loads((tmp_path / "ovms/config.json").read_text())["model_config_list"]
    hints = {each["config"]["name"]: each["config"]["plugin_config"]["INFERENCE_PRECISION_HINT"] for each in entries}
    assert hints == {"first": "f32", "second": "bf16"}
    assert all((tmp_path / "ovms" / each["config"]["base_path"] / "1").is_dir() for each in entries)


def test_a_label_of_two_lines_moves_no_other_to_another_class(tmp_path: Path) -> None:
    tiny.build(tmp_path / "b", "openvino")
    bundle = tiny.reseal(tmp_path / "b", labels=("a\nb", *tiny.LABELS[1:]))
    for write in (ovms.write_model, lambda bundle, folder: triton.write_model(bundle, folder, 1)):
        place = write(bundle, tmp_path / write.__name__)
        assert (place / "labels.txt").read_text().splitlines() == ["a b", *tiny.LABELS[1:]]


def test_openvino_takes_the_entry_as_the_server_would_and_gives_the_bundles_logits(tmp_path: Path) -> None:
    """Device and plugin_config are handed to OpenVINO as they stand; name and base_path are TensorFlow Serving's."""
    openvino = pytest.importorskip("openvino")
    bundle = tiny.build(tmp_path / "b", "openvino")
    ovms.write_model(bundle, tmp_path / "ovms")
    (entry,) = json.loads((tmp_path / "ovms/config.json").read_text())["model_config_list"]
    served = entry["config"]
    assert set(served) == {"name", "base_path", "target_device", "plugin_config"}
    model = tmp_path / "ovms" / served["base_path"] / "1/model.xml"
    compiled = openvino_core().compile_model(model, served["target_device"], served["plugin_config"])
    assert compiled.get_property("INFERENCE_PRECISION_HINT") == openvino.Type.f32
    assert compiled.get_property("PERFORMANCE_HINT") == "LATENCY"
    pixels = tiny.random_pixels(2)
    with open_session(bundle) as session:
        assert np.allclose(compiled(pixels)[0], session(pixels), atol=1e-5)


def test_ovms_refuses_other_engines_and_a_strangers_config(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a bundle for onnx was not proven with; export -t openvino"):
        ovms.write_model(tiny.build(tmp_path / "o", "onnx"), tmp_path / "ovms")
    (tmp_path / "ovms").mkdir()
    (tmp_path / "ovms/config.json").write_text('{"models": 1}')
    with pytest.raises(DataError, match="no model_config_list"):
        ovms.write_model(tiny.build(tmp_path / "v", "openvino"), tmp_path / "ovms")
    assert [path.name for path in (tmp_path / "ovms").iterdir()] == ["config.json"]


def floats(folder: Path, std: tuple[float, float, float] = (0.25, 0.25, 0.25)) -> Bundle:
    """A bundle that says that it takes normalised floats."""
    bundle = tiny.build(folder, "onnx", labels=("leaf", "pagoda; old", "sky"))
    entry = TensorSpec("images", "float32", "NCHW", ("batch", 3, 20, 30))
    normalization = replace(Normalization((0.5, 0.4, 0.3), std), applied_by="caller")
    return tiny.reseal(bundle.path, inputs=(entry,), normalization=normalization)


def test_nvinfer_normalises_as_the_pixel_contract_says(tmp_path: Path) -> None:
    bundle = floats(tmp_path / "b")
    place = deepstream.write_classifier(bundle, tmp_path / "deepstream", 4)
    parser = configparser.ConfigParser()
    parser.read(place / "config_infer.txt")
    found = parser["property"]
    offsets = np.array([float(each) for each in found["offsets"].split(";")])
    pixel, contract = np.array([10.0, 100.0, 200.0]), bundle.manifest.normalization
    assert contract is not None
    wanted = (pixel / 255 - contract.mean) / contract.std
    assert float(found["net-scale-factor"]) * (pixel - offsets) == pytest.approx(wanted, rel=1e-6)
    assert (found["infer-dims"], found["batch-size"], found["network-type"]) == ("3;20;30", "4", "1")
    assert (place / found["onnx-file"]).read_bytes() == bundle.read("model.onnx")
    assert (place / found["labelfile-path"]).read_text() == "leaf;pagoda, old;sky\n"
    assert "NEVER RUN" in (place / "config_infer.txt").read_text()


def test_nvinfer_refuses_what_it_can_not_express(tmp_path: Path) -> None:
    thresholds = Thresholds(per_class=(0.5, 0.5, 0.5))
    several = tiny.reseal(floats(tmp_path / "s").path, scores="sigmoid", multi_label=True, thresholds=thresholds)
    for bundle, message in (
        (floats(tmp_path / "std", (0.2, 0.25, 0.25)), "one net-scale-factor for all channels"),
        (several, "names one label an image, and s predicts several"),
        (tiny.build(tmp_path / "u", "onnx"), "export -t onnx --input float-nchw --layout deepstream"),
        (tiny.build(tmp_path / "v", "openvino"), "export -t onnx --input float-nchw --layout deepstream"),
    ):
        with pytest.raises(UsageError, match=message):
            deepstream.write_classifier(bundle, tmp_path / "deepstream", 1)
    assert not (tmp_path / "deepstream").exists()
