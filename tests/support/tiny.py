"""Builders of tiny but whole bundles for every backend, and of small images, for all test folders."""

from __future__ import annotations

import importlib.util
import io
import json
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import tiny_litert
from numpy.typing import NDArray
from PIL import Image

from edgeclf_runtime.backends.hog import FEATURES, grey_levels, hog
from edgeclf_runtime.backends.svm import Svm
from edgeclf_runtime.bundle.atomic_write import MANIFEST, seal
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.golden import Golden, GoldenImage, Probe
from edgeclf_runtime.bundle.manifest import Manifest, Normalization, Provenance, Reference, TensorSpec, parse_manifest
from edgeclf_runtime.bundle.own_outputs import record_own_outputs
from edgeclf_runtime.bundle.proof import TOLERANCES
from edgeclf_runtime.deploy.golden_items import pixels_digest
from edgeclf_runtime.images.pixels import Pixels

LABELS = ("leaf", "pagoda", "sky")
SIDE = 8
TARGETS = ("reference", "onnx", "openvino", "litert", "pytorch", "hog-svm")
_WEIGHTS_FILES = {
    "reference": "model.npz",
    "onnx": "model.onnx",
    "openvino": "model.bin",
    "litert": "model.tflite",
    "pytorch": "model.safetensors",
    "hog-svm": "model.npz",
    "tensorrt": "model.onnx",
}


def build(
    folder: Path, target: str = "reference", *, batch: str | int = "batch", seed: int = 0, **changes: Any
) -> Bundle:
    """A sealed bundle of `target` in the new `folder`: 3 classes, 8x8 pixels (pytorch 32, hog-svm 64), 8 golden images.

    `changes` replaces fields of the manifest. Logits of reference, onnx, openvino and litert are the same linear
    function. A tensorrt bundle is portable, and one of litert takes one image at a time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    batch = _batch(target, batch)
    pixels = Pixels("shorter", (side(target), side(target)), (side(target), side(target)))
    manifest = replace(_manifest(target, batch), pixels=pixels, **changes)
    for name, data in _model_files(target, batch, seed).items():
        (folder / name).write_bytes(data)
    batch_of_pixels, golden = _write_golden(folder, pixels)
    outputs = reference_logits(target, batch_of_pixels, seed)
    np.save(folder / golden.outputs, outputs)
    manifest = replace(manifest, golden=golden)
    if manifest.state == "built":
        manifest = replace(manifest, own=record_own_outputs(folder, manifest, outputs, {}, "fp32"))
    seal(folder, manifest)
    return Bundle.open(folder)


def _batch(target: str, batch: str | int) -> str | int:
    return 1 if target == "litert" and batch == "batch" else batch


def side(target: str) -> int:
    """Height and width of the input, in pixels."""
    return {"pytorch": 32, "hog-svm": 64}.get(target, SIDE)


def weights_file(target: str) -> str:
    """The file of a bundle that holds the model's weights."""
    return _WEIGHTS_FILES[target]


def reseal(folder: Path, **changes: Any) -> Bundle:
    """Hashes the files anew after a test changed some, and replaces fields of the manifest."""
    manifest = parse_manifest((folder / MANIFEST).read_bytes(), str(folder))
    seal(folder, replace(manifest, **changes))
    return Bundle.open(folder)


def replace_weights(folder: Path, seed: int) -> Bundle:
    """Plants other weights, with right hashes: a fault of the engine's side that no checksum finds."""
    target = parse_manifest((folder / MANIFEST).read_bytes(), str(folder)).target
    name = weights_file(target)
    (folder / name).write_bytes(_model_files(target, _batch(target, "batch"), seed)[name])
    return reseal(folder)


def random_pixels(count: int, target: str = "reference", seed: int = 0) -> NDArray[np.uint8]:
    """(count, H, W, 3) uint8 that fits the bundles of `target`."""
    shape = (count, side(target), side(target), 3)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def shipped(name: str) -> Path:
    """A photograph of scikit-learn ("china.jpg", "flower.jpg") or scikit-image, without importing either."""
    for package, folder in (("sklearn", "datasets/images"), ("skimage", "data")):
        specification = importlib.util.find_spec(package)
        assert specification is not None and specification.origin is not None
        path = Path(specification.origin).parent / folder / name
        if path.exists():
            return path
    raise FileNotFoundError(name)


def encoded(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def images(count: int = 8) -> list[Image.Image]:
    """Crops of 48x40 pixels from a real photograph, all different."""
    return [_photograph().crop((40 * i, 20 * i, 40 * i + 48, 20 * i + 40)) for i in range(count)]


@lru_cache
def _photograph() -> Image.Image:
    with Image.open(shipped("china.jpg")) as photograph:
        return photograph.convert("RGB")


def reference_logits(target: str, pixels: NDArray[np.uint8], seed: int = 0) -> NDArray[np.float32]:
    """What a bundle's model should give, computed apart from its backend."""
    if target == "pytorch":
        import torch

        from edgeclf_runtime.backends.torch_module import with_normalization

        with torch.inference_mode():
            module = with_normalization(_torch_module(seed), _normalization())
            return np.asarray(module(torch.from_numpy(pixels)).numpy())
    if target == "hog-svm":
        return _svm_margins(pixels, seed)
    weight, bias = linear_weights(seed)
    return (pixels.reshape(len(pixels), -1) / np.float32(255)).astype(np.float32) @ weight + bias


def close_to(found: NDArray[np.float32], wanted: NDArray[np.float32]) -> bool:
    """Equal but for the rounding of another engine or batch size."""
    return np.allclose(found, wanted, rtol=0, atol=1e-4 * float(np.ptp(wanted)))


def linear_weights(seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    random = np.random.default_rng(seed)
    weight = random.normal(size=(SIDE * SIDE * 3, len(LABELS))).astype(np.float32)
    return weight, random.normal(size=len(LABELS)).astype(np.float32)


def onnx_linear(weight: NDArray[np.float32], bias: NDArray[np.float32], batch: str | int = "batch") -> Any:
    """onnx.ModelProto of `uint8 NHWC -> Cast -> / 255 -> Gemm -> logits`."""
    from onnx import TensorProto, helper, numpy_helper

    constants = {
        "scale": np.float32(1 / 255),
        "flat": np.array([0, -1], dtype=np.int64) if batch == "batch" else np.array([batch, -1], dtype=np.int64),
        "weight": weight,
        "bias": bias,
    }
    nodes = [
        helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["floats", "scale"], ["scaled"]),
        helper.make_node("Reshape", ["scaled", "flat"], ["rows"]),
        helper.make_node("Gemm", ["rows", "weight", "bias"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, [batch, SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, len(bias)])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def _manifest(target: str, batch: str | int) -> Manifest:
    return Manifest(
        task="classify",
        state="portable" if target == "tensorrt" else "built",
        target=target,
        inputs=(TensorSpec("pixels", "uint8", "NHWC", (batch, side(target), side(target), 3)),),
        outputs=(TensorSpec("logits", "float32", "NC", (batch, len(LABELS))),),
        labels=LABELS,
        scores="softmax",
        pixels=None,
        normalization=_normalization(),
        weights_precision="fp32",
        compute_precision="fp32",
        tolerances=TOLERANCES["fp32"],
        provenance=Provenance("linear", "random", "2026-11-23T15:04:05Z", {"numpy": np.__version__}),
        reference=Reference("reference", "seed 0"),
        golden=Golden((), "golden/outputs.npy"),
    )


def _normalization() -> Normalization:
    return Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def _write_golden(folder: Path, pixels: Pixels) -> tuple[NDArray[np.uint8], Golden]:
    (folder / "golden").mkdir()
    batch, items = [], []
    for i, crop in enumerate(images()):
        image, stored = f"golden/{i:02}.jpg", f"golden/{i:02}.pixels.png"
        data = encoded(crop, quality=90)
        array, _ = pixels.load(data)
        (folder / image).write_bytes(data)
        Image.fromarray(array).save(folder / stored)
        items.append(GoldenImage(image, stored, pixels_digest(array)))
        batch.append(array)
    probe = Image.new("RGBA", (13, 4), (200, 0, 0, 100))
    probe.save(folder / "golden/probe.png")
    shown = Probe("golden/probe.png", pixels_digest(pixels.load(folder / "golden/probe.png")[0]), "a background")
    return np.stack(batch), Golden(tuple(items), "golden/outputs.npy", probes=(shown,))


def _model_files(target: str, batch: str | int, seed: int) -> dict[str, bytes]:
    if target == "reference":
        weight, bias = linear_weights(seed)
        buffer = io.BytesIO()
        np.savez(buffer, weight=weight, bias=bias)
        return {"model.npz": buffer.getvalue()}
    if target in ("onnx", "tensorrt"):
        return {"model.onnx": onnx_linear(*linear_weights(seed), batch).SerializeToString()}
    if target == "openvino":
        return _openvino_files(batch, seed)
    if target == "litert":
        return {"model.tflite": tiny_litert.linear(*linear_weights(seed), int(batch))}
    if target == "hog-svm":
        return {"model.npz": _svm(seed).to_bytes()}
    return _torch_files(seed)


@lru_cache
def _openvino_files(batch: str | int, seed: int) -> dict[str, bytes]:
    import tempfile

    from edgeclf_runtime.backends.ov import import_openvino, openvino_core

    openvino = import_openvino()
    network = openvino_core().read_model(onnx_linear(*linear_weights(seed), batch).SerializeToString())
    with tempfile.TemporaryDirectory() as folder:
        openvino.save_model(network, Path(folder, "model.xml"), compress_to_fp16=False)
        return {name: Path(folder, name).read_bytes() for name in ("model.xml", "model.bin")}


@lru_cache
def _torch_module(seed: int) -> Any:
    """timm's own test model (about 0.5 M weights) with random weights that spread its logits."""
    import torch

    from edgeclf_runtime.backends.torch_module import Builder, build_module

    torch.manual_seed(seed)
    return build_module(Builder("timm", "test_resnet", {"num_classes": len(LABELS)}))


@lru_cache
def _torch_files(seed: int) -> dict[str, bytes]:
    from safetensors.torch import save

    builder = {"library": "timm", "name": "test_resnet", "arguments": {"num_classes": len(LABELS)}}
    return {"model.json": json.dumps(builder).encode(), "model.safetensors": save(_torch_module(seed).state_dict())}


@lru_cache
def _svm(seed: int) -> Svm:
    """A support vector machine on HOG whose vectors and coefficients are drawn by chance."""
    random = np.random.default_rng(seed)
    counts = np.array([4, 3, 5])
    return Svm(
        mean=np.full(FEATURES, 0.1),
        scale=np.full(FEATURES, 0.1),
        support_vectors=random.normal(size=(counts.sum(), FEATURES)).astype(np.float32),
        support_counts=counts,
        dual_coefficients=random.normal(size=(2, counts.sum())),
        intercepts=random.normal(size=3) * 0.1,
        gamma=np.array(1 / FEATURES),
    )


def _svm_margins(pixels: NDArray[np.uint8], seed: int) -> NDArray[np.float32]:
    """libsvm's one-against-one decisions, pair by pair, and scikit-learn's margins from them."""
    svm = _svm(seed)
    scaled = (hog(grey_levels(pixels)) - svm.mean) / svm.scale
    distances = ((scaled[:, None] - svm.support_vectors.astype(np.float64)) ** 2).sum(axis=2)
    kernel = np.exp(-svm.gamma * distances)
    votes, sums = np.zeros((len(pixels), 3)), np.zeros((len(pixels), 3))
    parts = np.split(np.arange(12), np.cumsum(svm.support_counts)[:-1])
    for pair, (i, j) in enumerate([(0, 1), (0, 2), (1, 2)]):
        own, other = kernel[:, parts[i]], kernel[:, parts[j]]
        decision = own @ svm.dual_coefficients[j - 1, parts[i]] + other @ svm.dual_coefficients[i, parts[j]]
        decision = decision + svm.intercepts[pair]
        votes[:, i] += decision >= 0
        votes[:, j] += decision < 0
        sums[:, i] += decision
        sums[:, j] -= decision
    return np.asarray(votes + sums / (3 * (np.abs(sums) + 1)), dtype=np.float32)
