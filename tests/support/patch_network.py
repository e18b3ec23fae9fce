"""Fixtures: a small residual network, trained for a moment on patches of photographs, and those patches as files."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from patches import LABELS, PATCH_PIXELS, SIDE, TEST, TRAIN, VAL, small_network
from PIL import Image

from edgeclf_export.exportable import Exportable
from edgeclf_export.proof.images import shipped_photographs
from edgeclf_export.sources.modules import exportable_from_module
from edgeclf_runtime.bundle.manifest import Normalization, Reference
from edgeclf_runtime.hashing import hash_file
from edgeclf_runtime.images.data_split import DataSplit, LabelledData
from edgeclf_runtime.images.labelled import SPLITS, LabelledImage, Split, class_numbers


@pytest.fixture(scope="session")
def patches(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[LabelledImage, ...]]:
    """Labelled patches by split, a folder a split and class."""
    root = tmp_path_factory.mktemp("patches")
    random = np.random.default_rng(0)
    files = {path.stem: path for path in shipped_photographs()}
    images: list[LabelledImage] = []
    for name in LABELS:
        image = np.asarray(Image.open(files[name]).convert("RGB"))
        for place in range(TRAIN + VAL + TEST):
            split: Split = "train" if place < TRAIN else "val" if place < TRAIN + VAL else "test"
            top, left = (int(random.integers(0, size - 48)) for size in image.shape[:2])
            path = root / split / name / f"{place}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[top : top + 48, left : left + 48]).resize((SIDE, SIDE)).save(path)
            images.append(LabelledImage(root, str(path.relative_to(root)), (name,), hash_file(path), split=split))
    return {split: tuple(image for image in images if image.split == split) for split in SPLITS}


@pytest.fixture(scope="session")
def trained(patches: dict[str, tuple[LabelledImage, ...]]) -> Exportable:
    """The network with its data; most of its predictions are right. Its test images are counted nowhere."""
    import torch

    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # so small a network gains nothing from a second one
    module = small_network()
    images = np.stack([PATCH_PIXELS.load(image.path)[0] for image in patches["train"]])
    batch = (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
    labels = torch.from_numpy(class_numbers(patches["train"], LABELS))
    optimizer = torch.optim.Adam(module.parameters(), 3e-3)
    module.train()
    for _ in range(60):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(module(batch), labels).backward()
        optimizer.step()
    torch.set_num_threads(threads)
    exportable = exportable_from_module(
        module.eval(),
        labels=LABELS,
        pixels=PATCH_PIXELS,
        normalization=Normalization((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        backbone="patches",
        weights="module",
        reference=Reference("pytorch", "patches"),
        proof_files=tuple(image.path for image in patches["val"]),
    )
    root = patches["train"][0].path.parents[2]
    split = DataSplit(root=root, classes=LABELS, images=tuple(image for split in SPLITS for image in patches[split]))
    data = LabelledData(split, "run patches", lambda subject: "use no. 1")
    onnx = exportable.make_onnx("uint8-nhwc", 18)
    run, known = exportable.run_reference, dict[bytes, Any]()

    def run_once(pixels: NDArray[np.uint8]) -> Any:
        """Every export runs the same images."""
        key = pixels.tobytes()
        if key not in known:
            known[key] = run(pixels)
        return known[key].copy()

    return replace(exportable, data=data, make_onnx=lambda form, opset: onnx, run_reference=run_once)
