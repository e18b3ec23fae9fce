"""Tiny bundles whose second output are features: those of `tiny`, with class means, a threshold, and an index."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tiny
from numpy.typing import NDArray

from edgeclf_runtime.bundle.atomic_write import seal
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.feature_info import FeatureInfo
from edgeclf_runtime.bundle.features import IndexedImage, write_index
from edgeclf_runtime.bundle.manifest import TensorSpec, Thresholds
from edgeclf_runtime.bundle.own_outputs import record_own_outputs
from edgeclf_runtime.deploy.golden_items import golden_batch
from edgeclf_runtime.metrics.similarity import SimilarityThreshold

TARGETS = ("reference", "onnx", "openvino", "pytorch")


def build(folder: Path, target: str = "reference", *, batch: str | int = "batch", below: float | None = -1.0) -> Bundle:
    """As `tiny.build`. The class means are the features of its first three golden images, its index those of all."""
    bundle = tiny.build(folder, target, batch=batch)
    _give_second_output(folder, target, batch)
    pixels = golden_batch(bundle)
    features, (stated, *_) = reference_features(target, pixels), bundle.manifest.outputs
    (folder / "features").mkdir()
    info = FeatureInfo(images=3, images_sha256="")
    np.save(folder / info.class_means, features[:3])
    for name in (info.reference, info.own):
        np.save(folder / name, features)
    images = tuple(IndexedImage(f"train/{i}.jpg", tiny.LABELS[i % 3]) for i in range(len(features)))
    index, names = write_index(folder, features, images)
    spec = TensorSpec("features", "float32", "NC", (stated.shape[0], features.shape[1]))
    threshold = None if below is None else SimilarityThreshold(below, 0.01, 8)
    manifest = replace(
        bundle.manifest,
        outputs=(stated, spec),
        features=replace(info, index=index, index_names=names),
        thresholds=Thresholds(features=threshold),
    )
    if manifest.state == "built":
        logits = tiny.reference_logits(target, pixels)
        manifest = replace(manifest, own=record_own_outputs(folder, manifest, logits, {}, "fp32"))
    seal(folder, manifest)
    return Bundle.open(folder)


def reference_features(target: str, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What the head takes, computed apart from the backend."""
    if target != "pytorch":
        return (pixels.reshape(len(pixels), -1) / np.float32(255)).astype(np.float32)
    import torch

    from edgeclf_runtime.backends.torch_module import with_normalization

    module = tiny._torch_module(0)
    whole = with_normalization(module, tiny._normalization())
    taken: list[Any] = []
    hook = module.fc.register_forward_pre_hook(lambda _, inputs: taken.append(inputs[0].numpy().copy()))
    with torch.inference_mode():
        whole(torch.from_numpy(pixels))
    hook.remove()
    return np.asarray(taken[0])


def _give_second_output(folder: Path, target: str, batch: str | int) -> None:
    if target in ("onnx", "tensorrt", "openvino"):
        from onnx import TensorProto, helper

        model = tiny.onnx_linear(*tiny.linear_weights(0), batch)
        model.graph.node.append(helper.make_node("Identity", ["rows"], ["features"]))
        width = tiny.SIDE * tiny.SIDE * 3
        model.graph.output.append(helper.make_tensor_value_info("features", TensorProto.FLOAT, [batch, width]))
        if target != "openvino":
            (folder / "model.onnx").write_bytes(model.SerializeToString())
            return
        from edgeclf_runtime.backends.ov import import_openvino, openvino_core

        network = openvino_core().read_model(model.SerializeToString())
        import_openvino().save_model(network, folder / "model.xml", compress_to_fp16=False)
