"""The networks of the record, with the same weights for all: bundles of edgeclf, and the forms that peers take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgeclf_benchmarks.records.commands import edgeclf, trained
from edgeclf_benchmarks.records.int8 import some_images
from edgeclf_benchmarks.records.peers.contenders import Contender, Row
from edgeclf_runtime.backends.ov import openvino_core
from edgeclf_runtime.bundle.bundle import Bundle

_TRAINING = ("--weights", "random", "--strategy", "full", "--batch-norm", "learn", "--lr", "0.001", "--epochs", "3")
_TRAINING_PX = 64  # quick, and no matter: bundles take images of another size, and speed doesn't depend on weights
_EVERYTHING_PASSES = "1%"
_NETWORK = {"openvino": "model.xml", "onnx": "model.onnx"}


def make_bundles(folder: Path, data: Path, rows: tuple[Row, ...], side_px: int) -> None:
    """What is missing of the bundles: networks trained for a moment on `data`, so that they tell images apart.

    They need not be good, only the same for all; everything passes the accuracy gate.
    """
    folder.mkdir(parents=True, exist_ok=True)
    calibration = folder / "calibration"
    for backbone in dict.fromkeys(row.backbone for row in rows):
        wanted: set[tuple[str, str]] = {(row.target, row.stored) for row in rows if row.backbone == backbone}
        wanted |= {("pytorch", "fp32")} if any(stored == "fp32" for _, stored in wanted) else set()
        missing = sorted(each for each in wanted if not _bundle(folder, backbone, *each).exists())
        if not missing:
            continue
        split = folder / "split.json"
        if not split.exists():
            edgeclf("data", "split", str(data.resolve()), "-o", "split.json", folder=folder)
        run = trained(folder / "runs" / backbone, split, "-m", backbone, "--img-size", str(_TRAINING_PX), *_TRAINING)
        labels = folder / "labels.txt"
        labels.write_text("\n".join(json.loads(split.read_bytes())["classes"]) + "\n", encoding="utf-8")
        if not calibration.exists():
            some_images(data, calibration)
        source = ("-m", backbone, "--weights", str(run / "model.safetensors"), "--labels", str(labels))
        for target, stored in missing:
            gate = ("--max-drop", _EVERYTHING_PASSES, "--calib-data", str(calibration)) if stored == "int8" else ()
            options = ("-t", target, "--precision", stored, "--img-size", str(side_px), "--name", backbone)
            edgeclf("export", *source, *options, *gate, "-o", "bundles", folder=folder)


def _bundle(folder: Path, backbone: str, target: str, stored: str) -> Path:
    return folder / "bundles" / f"{backbone}-{target}-{stored}"


def bundle_of(folder: Path, row: Row) -> Path:
    """The bundle that a row is about."""
    return _bundle(folder, row.backbone, row.target, row.stored)


def settings_of(folder: Path, row: Row) -> dict[str, Any]:
    """What each contender is told about the network of a row."""
    manifest = Bundle.open(bundle_of(folder, row)).manifest
    pixels, normalization = manifest.pixels, manifest.normalization
    if pixels is None or normalization is None or pixels.resize not in ("shorter", "cover"):
        raise SystemExit(f"{bundle_of(folder, row)}: peers can't resize and normalize as its manifest says")
    return {
        "bundle": str(bundle_of(folder, row)),
        "target": row.target,
        "compute_precision": "bf16" if row.precision == "bf16" else None,
        "backbone": row.backbone,
        "classes": len(manifest.labels),
        "resize_px": pixels.resize_px[0],
        "crop_px": pixels.crop_px[0],
        "interpolation": pixels.interpolation,
        "normalization": {"image_mean": list(normalization.mean), "image_std": list(normalization.std)},
    }


def model_for(folder: Path, row: Row, contender: Contender) -> Path:
    """The file or folder that a contender opens, made where it is missing."""
    bundle = bundle_of(folder, row)
    if contender.form == "weights":
        return _bundle(folder, row.backbone, "pytorch", "fp32") / "model.safetensors"
    if contender.form in ("bundle", "network"):
        return bundle / _NETWORK[row.target]
    # Ultralytics knows what a folder holds by the end of its name
    place = folder / contender.form / f"{bundle.name}_{row.target}_model"
    if not (place / "metadata.yaml").exists():
        place.mkdir(parents=True, exist_ok=True)
        _behind_floats(bundle, place, row.target, "model" if contender.form == "ultralytics" else f"{row.target}_model")
        _describe(Bundle.open(bundle), place)
    return place


def _behind_floats(bundle: Path, place: Path, target: str, name: str) -> None:
    """The bundle's network for (N, 3, H, W) float32 of 0..1, which become its uint8 pixels again: the same answers."""
    if target == "openvino":
        _openvino_behind_floats(bundle / _NETWORK[target], place / f"{name}.xml")
    else:
        _onnx_behind_floats(bundle / _NETWORK[target], place / "model.onnx")


def _openvino_behind_floats(network: Path, place: Path) -> None:
    import openvino
    from openvino.preprocess import PrePostProcessor

    model = openvino_core().read_model(network)
    single = openvino.Model([model.output("logits")], model.get_parameters())
    steps = PrePostProcessor(single)
    given = steps.input()
    given.tensor().set_element_type(openvino.Type.f32).set_layout(openvino.Layout("NCHW"))
    given.model().set_layout(openvino.Layout("NHWC"))
    # (x + 0.5/255) * 255, cut to whole levels
    given.preprocess().mean(-0.5 / 255).scale(1 / 255).convert_element_type(openvino.Type.u8)
    built = steps.build()
    built.input().set_names({"pixel_values"})
    openvino.save_model(built, place, compress_to_fp16=False)


def _onnx_behind_floats(network: Path, place: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    model = onnx.load(network)
    graph = model.graph
    (given,) = graph.input
    batch, height, width, channels = given.type.tensor_type.shape.dim
    shape = [batch.dim_param or "batch", channels.dim_value, height.dim_value, width.dim_value]
    graph.initializer.append(helper.make_tensor("_levels", TensorProto.FLOAT, [], [255.0]))
    graph.initializer.append(helper.make_tensor("_half", TensorProto.FLOAT, [], [0.5]))
    steps = (
        helper.make_node("Mul", ["pixel_values", "_levels"], ["_scaled"]),
        helper.make_node("Add", ["_scaled", "_half"], ["_rounded"]),
        helper.make_node("Cast", ["_rounded"], ["_whole"], to=TensorProto.UINT8),
        helper.make_node("Transpose", ["_whole"], [given.name], perm=[0, 2, 3, 1]),
    )
    for step in reversed(steps):
        graph.node.insert(0, step)
    graph.input.remove(given)
    graph.input.append(helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, shape))
    onnx.checker.check_model(model)
    onnx.save(model, place)


def _describe(bundle: Bundle, place: Path) -> None:
    """The files that Optimum and Ultralytics expect beside a network."""
    assert bundle.manifest.pixels is not None  # `settings_of` checked it
    names = {place: f"LABEL_{place}" for place in range(len(bundle.manifest.labels))}
    config = {"model_type": "resnet", "architectures": ["ResNetForImageClassification"], "id2label": names}
    (place / "config.json").write_text(json.dumps(config), encoding="utf-8")
    facts = {"task": "classify", "stride": 1, "batch": 1, "channels": 3, "imgsz": list(bundle.manifest.pixels.crop_px)}
    lines = [f"{name}: {json.dumps(found)}" for name, found in facts.items()]
    lines += ["names:", *(f"  {place}: {name}" for place, name in names.items())]
    (place / "metadata.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
