"""Models for Triton: the bundle's own files, and a config that Triton's published schema takes."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny
from fake_gpu import FakeGpu

from edgeclf_export.targets.triton import check_served, write_model
from edgeclf_runtime.backends.tensorrt.builder import BuildSettings
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.deploy.build import build
from edgeclf_runtime.errors import UsageError

SCHEMA = Path(__file__).with_name("triton_schema.json")
GOLDEN = """\
# pears-onnx-fp32, written by edgeclf; SHA-256 of its manifest: DIGEST
# On the CPU, as it was proven.
# Input: NHWC RGB pixels, resized and cropped as manifest.json says; normalisation is in the model
name: "pears-onnx-fp32"
backend: "onnxruntime"
default_model_filename: "model.onnx"
max_batch_size: 8
input [
  {
    name: "pixels"
    data_type: TYPE_UINT8
    dims: [ 8, 8, 3 ]
  }
]
output [
  {
    name: "logits"
    data_type: TYPE_FP32
    dims: [ 3 ]
    label_filename: "labels.txt"
  }
]
instance_group [ { count: 1 kind: KIND_CPU } ]
dynamic_batching { }
"""


@pytest.fixture(scope="module")
def parse() -> Callable[[Path], Any]:
    """Reads a config.pbtxt as a ModelConfig; an unknown field or a wrong type is an error."""
    from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory, text_format

    pool = descriptor_pool.DescriptorPool()
    file = json.loads(SCHEMA.read_text())["file"]
    pool.Add(json_format.ParseDict(file, descriptor_pb2.FileDescriptorProto()))
    model_config = message_factory.GetMessageClass(pool.FindMessageTypeByName("inference.ModelConfig"))

    def parse(model: Path) -> Any:
        message = model_config()
        text_format.Parse((model / "config.pbtxt").read_text(), message)
        return json_format.MessageToDict(message, preserving_proto_field_name=True)

    return parse


@pytest.fixture
def engine(tmp_path: Path) -> Bundle:
    """A TensorRT bundle that a stand-in for a GPU built, for batches of up to 6."""
    portable = tiny.build(tmp_path / "pears-tensorrt-fp32", "tensorrt")
    with FakeGpu().installed():
        return build(portable, BuildSettings(max_batch=6), destination=tmp_path / "pears-engine").bundle


def test_the_config_is_this_text(tmp_path: Path) -> None:
    bundle = tiny.build(tmp_path / "pears-onnx-fp32", "onnx")
    model = write_model(bundle, tmp_path / "triton", 8)
    assert (model / "config.pbtxt").read_text() == GOLDEN.replace("DIGEST", bundle.digest)


@pytest.mark.parametrize(
    ("target", "backend", "files"),
    [("onnx", "onnxruntime", ("model.onnx",)), ("openvino", "openvino", ("model.xml", "model.bin"))],
)
def test_a_model_is_the_bundles_own_file_with_labels_and_a_valid_config(
    target: str, backend: str, files: tuple[str, ...], parse: Callable[[Path], Any], tmp_path: Path
) -> None:
    bundle = tiny.build(tmp_path / "pears", target)
    model = write_model(bundle, tmp_path / "triton", 16)
    assert model == tmp_path / "triton" / "pears"
    assert (model / "manifest.json").read_bytes() == (bundle.path / "manifest.json").read_bytes()
    found = {path.relative_to(model).as_posix() for path in model.rglob("*") if path.is_file()}
    assert found == {"config.pbtxt", "labels.txt", "manifest.json", *(f"1/{name}" for name in files)}
    assert all((model / "1" / name).read_bytes() == bundle.read(name) for name in files)
    assert (model / "labels.txt").read_text().splitlines() == list(tiny.LABELS)
    config = parse(model)
    assert (config["name"], config["backend"], config["default_model_filename"]) == ("pears", backend, files[0])
    assert config["input"][0]["data_type"] == "TYPE_UINT8" and config["output"][0]["label_filename"] == "labels.txt"
    assert config["instance_group"] == [{"kind": "KIND_CPU", "count": 1}]


def test_onnx_requests_are_batched_and_openvino_takes_a_batch_as_it_comes(
    parse: Callable[[Path], Any], tmp_path: Path
) -> None:
    gathered = parse(write_model(tiny.build(tmp_path / "a", "onnx"), tmp_path / "triton", 16))
    alone = parse(write_model(tiny.build(tmp_path / "b", "openvino"), tmp_path / "triton", 16))
    assert gathered["max_batch_size"] == 16 and gathered["dynamic_batching"] == {}
    assert gathered["input"][0]["dims"] == ["8", "8", "3"]
    assert "max_batch_size" not in alone and "dynamic_batching" not in alone
    assert alone["input"][0]["dims"] == ["-1", "8", "8", "3"] and alone["output"][0]["dims"] == ["-1", "3"]


def test_a_fixed_batch_is_a_dimension_of_its_own(parse: Callable[[Path], Any], tmp_path: Path) -> None:
    config = parse(write_model(tiny.build(tmp_path / "two", "onnx", batch=2), tmp_path / "triton", 16))
    assert "max_batch_size" not in config and config["input"][0]["dims"] == ["2", "8", "8", "3"]


def test_an_engine_keeps_its_own_largest_batch_and_its_gpu(
    engine: Bundle, parse: Callable[[Path], Any], tmp_path: Path
) -> None:
    model = write_model(engine, tmp_path / "triton", 64)
    config = parse(model)
    assert (config["backend"], config["max_batch_size"]) == ("tensorrt", 6)
    assert config["instance_group"] == [{"kind": "KIND_GPU", "count": 1}]
    assert (model / "1/model.plan").read_bytes() == engine.read("model.plan")
    assert (model / "engine.json").read_bytes() == engine.read("engine.json")


def test_a_plan_of_tensorrt_rtx_is_refused_for_triton(engine: Bundle, tmp_path: Path) -> None:
    info = json.loads(engine.read("engine.json"))
    info["place"]["flavour"] = "tensorrt-rtx"
    (engine.path / "engine.json").write_text(json.dumps(info))
    with pytest.raises(UsageError, match="was built with tensorrt-rtx; Triton loads plans of TensorRT itself"):
        write_model(tiny.reseal(engine.path), tmp_path / "triton", 1)


def test_names_with_special_characters_are_quoted(parse: Callable[[Path], Any], tmp_path: Path) -> None:
    name = 'pears "Köstliche" \\ 2'
    assert parse(write_model(tiny.build(tmp_path / name, "onnx"), tmp_path / "triton", 1))["name"] == name


def test_floats_are_described_as_such(parse: Callable[[Path], Any], tmp_path: Path) -> None:
    bundle = tiny.build(tmp_path / "floats", "onnx")
    entry = replace(bundle.manifest.inputs[0], dtype="float32", layout="NCHW", shape=("batch", 3, 8, 8))
    normalization = replace(bundle.manifest.normalization, applied_by="caller")  # type: ignore[type-var]
    bundle = tiny.reseal(bundle.path, inputs=(entry,), normalization=normalization)
    model = write_model(bundle, tmp_path / "triton", 1)
    assert parse(model)["input"][0] == {"name": "pixels", "data_type": "TYPE_FP32", "dims": ["3", "8", "8"]}
    assert "NCHW float32, resized, cropped and normalised" in (model / "config.pbtxt").read_text()


@pytest.mark.parametrize("target", ["pytorch", "hog-svm"])
def test_targets_that_triton_does_not_serve_are_refused_in_one_line(target: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"for onnx, openvino, tensorrt, not for {target}; export one of those$"):
        write_model(tiny.build(tmp_path / "odd", target), tmp_path / "triton", 1)
    assert not (tmp_path / "triton").exists()


def test_a_portable_bundle_has_no_plan_to_serve(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a portable bundle has none: on the server, run `edgeclf build BUNDLE`"):
        write_model(tiny.build(tmp_path / "portable", "tensorrt"), tmp_path / "triton", 1)


def test_a_model_that_exists_is_replaced_only_by_force(tmp_path: Path) -> None:
    bundle = tiny.build(tmp_path / "pears", "onnx")
    write_model(bundle, tmp_path / "triton", 1)
    with pytest.raises(UsageError, match="exists; give --force"):
        write_model(bundle, tmp_path / "triton", 2)
    model = write_model(bundle, tmp_path / "triton", 2, force=True)
    assert "max_batch_size: 2" in (model / "config.pbtxt").read_text()


def test_a_damaged_file_is_not_copied_into_the_repository(tmp_path: Path) -> None:
    bundle = tiny.build(tmp_path / "pears", "onnx")
    data = bytearray((bundle.path / "model.onnx").read_bytes())
    data[-1] ^= 1
    (bundle.path / "model.onnx").write_bytes(data)
    with pytest.raises(Exception, match="changed since the export"):
        write_model(bundle, tmp_path / "triton", 1)
    assert not list((tmp_path / "triton").iterdir())


def test_every_served_target_is_one_that_exports() -> None:
    from edgeclf_export.targets.registry import TARGETS

    served = []
    for target in TARGETS:
        try:
            check_served(target)
        except UsageError:
            continue
        served.append(target)
    assert served == ["onnx", "openvino", "tensorrt"]


def test_the_schema_here_is_part_of_the_published_one() -> None:
    """tritonclient pins an older ml-dtypes than onnx takes, so it is no part of any extra: pip install --no-deps."""
    from google.protobuf import descriptor_pb2, json_format

    found = importlib.util.find_spec("tritonclient")
    if found is None or found.origin is None:
        pytest.skip("tritonclient is not installed: pip install --no-deps tritonclient")
    path = Path(found.origin).with_name("grpc") / "model_config_pb2.py"
    specification = importlib.util.spec_from_file_location("model_config_pb2", path)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)  # without the package, which wants grpcio
    specification.loader.exec_module(module)
    published = descriptor_pb2.FileDescriptorProto()
    module.DESCRIPTOR.CopyToProto(published)
    theirs = by_name(json_format.MessageToDict(published))
    for place, ours in by_name(json.loads(SCHEMA.read_text())["file"]).items():
        assert {key: theirs[place].get(key) for key in ours} == ours, place


def by_name(file: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """ "ModelInput.dims" -> its number, label and type, for every field and enum value."""
    found: dict[str, dict[str, Any]] = {}
    for message in file["messageType"]:
        for field in message["field"]:
            found[f"{message['name']}.{field['name']}"] = field
        for enum in message.get("enumType", []):
            found |= {f"{message['name']}.{enum['name']}.{value['name']}": value for value in enum["value"]}
    for enum in file["enumType"]:
        found |= {f"{enum['name']}.{value['name']}": value for value in enum["value"]}
    return found
