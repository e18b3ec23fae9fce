"""The small trained network that faults are planted in, and its data: patches of four photographs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from faults import HALF, LABELS, PIXELS, Fault
from patches import small_network
from PIL import Image

from edgeclf_export.exportable import Exportable
from edgeclf_export.proof.images import shipped_photographs
from edgeclf_export.sources.modules import exportable_from_module
from edgeclf_export.targets import litert_convert
from edgeclf_export.targets.target import ExportGraph
from edgeclf_runtime.backends import torch_module
from edgeclf_runtime.bundle.manifest import Normalization, Reference
from edgeclf_runtime.hashing import hash_file
from edgeclf_runtime.images.data_split import DataSplit, LabelledData
from edgeclf_runtime.images.labelled import SPLITS, LabelledImage, class_numbers


@dataclass(frozen=True)
class Trained:
    """A network that tells patches of four photographs apart, and those patches; `builder`: how torch makes it anew."""

    module: Any
    data: LabelledData
    builder: torch_module.Builder | None
    made: dict[str, Exportable] = field(default_factory=dict)
    tflite: dict[int, bytes] = field(default_factory=dict)

    def converted(self, export_graph: ExportGraph) -> bytes:
        """What LiteRT's converter makes of it, a quarter of a minute each; made once for all precisions and verbs."""
        exportable = id(export_graph.exportable)
        if exportable not in self.tflite:
            self.tflite[exportable] = _sound_convert(export_graph)
        return self.tflite[exportable]

    def exportable(self, fault: Fault | None = None) -> Exportable:
        """The network with the fault in its graph and weights, and none in its reference. Made once for all targets."""
        name = fault.name if fault is not None and (fault.network is not None or fault.wrapper) else ""
        if name not in self.made:
            self.made[name] = self._with(fault)
        return self.made[name]

    def _with(self, fault: Fault | None) -> Exportable:
        if fault is None or fault.network is None:
            return self._as(self.module, HALF)
        sound = self.exportable()
        module, normalization = fault.network(self.module, HALF)
        faulty = self._as(module, normalization)
        return replace(
            sound,
            make_onnx=faulty.make_onnx,
            make_module=faulty.make_module,
            state=faulty.state,
            normalization=normalization,
        )

    def _as(self, module: Any, normalization: Normalization) -> Exportable:
        made = exportable_from_module(
            module,
            labels=LABELS,
            pixels=PIXELS,
            normalization=normalization,
            backbone="patches",
            weights="module",
            reference=Reference("pytorch", "patches"),
            builder=self.builder,
            proof_files=tuple(image.path for image in self.data.split.of("val")),
        )
        return replace(made, data=self.data, make_onnx=cache(made.make_onnx))


def train(folder: Path, *, patches: int = 40, steps: int = 40, small: bool = False) -> Trained:
    """`patches` of each photograph for each split, and `steps` of training on one thread: a few seconds.

    The network is timm's test_resnet; `small`: one of a few layers, of which there are no pytorch bundles.
    """
    import torch

    data = _draw_patches(folder, patches)
    builder = None if small else torch_module.Builder("timm", "test_resnet", {"num_classes": len(LABELS)})
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    module = (small_network() if builder is None else torch_module.build_module(builder)).train()
    train = data.split.of("train")
    images = torch.from_numpy(np.stack([image.load(PIXELS) for image in train]))
    batch = (images.permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
    labels = torch.from_numpy(class_numbers(train, LABELS))
    optimizer = torch.optim.Adam(module.parameters(), 1e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(module(batch), labels, label_smoothing=0.1).backward()
        optimizer.step()
    torch.set_num_threads(threads)
    return Trained(module.eval(), data, builder)


def _draw_patches(folder: Path, count: int) -> LabelledData:
    random = np.random.default_rng(0)
    files = {path.stem: path for path in shipped_photographs()}
    images: list[LabelledImage] = []
    for name in LABELS:
        picture = np.asarray(Image.open(files[name]).convert("RGB"))
        for split in SPLITS:
            for place in range(count):
                top, left = (int(random.integers(0, size - 72)) for size in picture.shape[:2])
                path = folder / split / name / f"{place}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(picture[top : top + 72, left : left + 72]).save(path)
                images.append(
                    LabelledImage(folder, f"{split}/{name}/{place}.png", (name,), hash_file(path), split=split)
                )
    data = DataSplit(root=folder, classes=tuple(LABELS), images=tuple(images))
    return LabelledData(data, "run patches", lambda subject: "use no. 1")


_sound_convert = litert_convert._convert
