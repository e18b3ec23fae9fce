"""What the commands that faults are tried on read: images, networks, a bundle, a report, a CLIP and a key; small."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import numpy as np
from PIL import Image

from edgeclf_benchmarks.records.faults.commands import (
    BUNDLE,
    CLIP,
    COLOURS,
    DATA,
    IMAGES,
    KEY,
    LABELS,
    NETWORK,
    OTHER_NETWORK,
    OUT,
    REPORT,
    SIDE,
    export_command,
)
from edgeclf_benchmarks.records.faults.process import Server


def prepare(folder: Path, server: Server) -> None:
    """Images, a network as ONNX, a bundle and a report in `folder`."""
    prepare_images(folder)
    random = np.random.default_rng(0)
    (folder / LABELS).write_text("".join(f"{name}\n" for name in COLOURS), encoding="utf-8")
    for name in (NETWORK, OTHER_NETWORK):
        (folder / name).write_bytes(_network(random))
    server.must(*export_command("made"))
    _write_clip(folder / CLIP)
    server.must(
        *("export", "-m", CLIP, "--pretrained", "random", "--encoder", "image", "--name", "small", "-o", "made")
    )
    (folder / KEY).write_text(_secret_key(), encoding="ascii")
    server.must("bench", BUNDLE, "-o", REPORT, "--rounds", "2", "--duration", "0.1", "--quick")


def prepare_images(folder: Path) -> None:
    """Noise in three colours, and the folder for outputs."""
    random = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (folder / DATA / name).mkdir(parents=True)
        for number in range(IMAGES):
            noisy = np.array(colour) + random.integers(-40, 40, (36, 36, 3))
            Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(folder / DATA / name / f"{number}.png")
    (folder / OUT).mkdir()


def _network(random: np.random.Generator) -> bytes:
    """A convolution and a linear layer, (N, 3, 16, 16) -> (N, 3)."""
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("Conv", ["x", "kernel"], ["c"], kernel_shape=[3, 3]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "weight"], ["y"]),
    ]
    values = {"kernel": (8, 3, 3, 3), "weight": (8, 3)}
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(random.normal(size=shape).astype(np.float32), k) for k, shape in values.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return bytes(model.SerializeToString())


def _write_clip(folder: Path) -> None:
    """What open_clip needs to make a CLIP of one layer a tower, with random weights."""
    model = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
        "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    }
    preprocess = {"size": [32, 32], "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bilinear"}
    folder.mkdir()
    document = {"model_cfg": model, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(document), encoding="utf-8")


def _secret_key() -> str:
    """A key file as `minisign -G -W` writes it, of a key that everybody knows."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    public = Ed25519PrivateKey.from_private_bytes(seed := bytes(32)).public_key().public_bytes_raw()
    content = b"Ed" + b"\0\0" + b"B2" + bytes(48) + b"faulty  " + seed + public + bytes(32)
    return f"untrusted comment: for trials\n{base64.b64encode(content).decode()}\n"
