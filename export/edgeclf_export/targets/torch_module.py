"""PyTorch target: builder name, JSON and safetensors. The reference that others are compared with, as a bundle."""

from __future__ import annotations

import json
from pathlib import Path

from edgeclf_export.targets.target import Built, ExportGraph, Target
from edgeclf_runtime.backends.torch_module import MODEL, WEIGHTS
from edgeclf_runtime.bundle.dataclass_json import to_json
from edgeclf_runtime.errors import UsageError


def build(export_graph: ExportGraph, precision: str, folder: Path) -> Built:
    import torch
    from safetensors.torch import save

    builder, state = export_graph.exportable.builder, export_graph.exportable.state
    if builder is None or state is None:
        raise UsageError(
            "the pytorch target needs an architecture that timm, torchvision or open_clip can build again; a module of "
            "your own, an ONNX file or a text encoder has none: choose onnx or openvino"
        )
    dtype = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[precision]
    stored = {
        name: (tensor.to(dtype) if tensor.is_floating_point() else tensor).contiguous().clone()
        for name, tensor in state.items()
    }
    (folder / MODEL).write_text(json.dumps(to_json(builder), indent=1) + "\n")
    (folder / WEIGHTS).write_bytes(save(stored))
    return Built(precision, precision)  # type: ignore[arg-type]


def _add_features(folder: Path, width: int) -> None:
    """Nothing to write: the module is there, and the engine listens to its head."""


TARGET = Target(name="pytorch", precisions=("fp32", "fp16", "bf16"), build=build, add_features=_add_features)
