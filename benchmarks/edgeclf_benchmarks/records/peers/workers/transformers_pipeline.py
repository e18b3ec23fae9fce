"""transformers' image-classification pipeline, on PyTorch or on a model of Optimum.

The same weights: `settings["engine"]` "pytorch" reads the safetensors of edgeclf's PyTorch bundle into transformers'
wrapper of timm; "openvino" and "onnx" give Optimum the bundle's own network behind an input of floats.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


def open_peer(settings: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    from transformers import CLIPImageProcessor, pipeline

    model, facts = _ENGINES[settings["engine"]](settings)
    normalization = settings["normalization"] if settings["engine"] == "pytorch" else {"do_normalize": False}
    resize_px, crop_px = settings["resize_px"], settings["crop_px"]
    processor = CLIPImageProcessor(
        size={"shortest_edge": resize_px},
        crop_size={"height": crop_px, "width": crop_px},
        resample=3,  # bicubic
        **normalization,
    )
    classify = pipeline("image-classification", model=model, image_processor=processor, device="cpu", top_k=1)

    def predict(files: Sequence[str]) -> list[int]:
        found = classify(list(files), batch_size=settings["batch"])
        return [int(best[0]["label"].removeprefix("LABEL_")) for best in found]

    return predict, {**facts, "processor": type(processor).__name__, "batch": settings["batch"]}


def _pytorch(settings: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    import torch
    from safetensors.torch import load_file
    from transformers import TimmWrapperConfig, TimmWrapperForImageClassification

    torch.set_num_threads(settings["threads"])
    names = {place: f"LABEL_{place}" for place in range(settings["classes"])}
    config = TimmWrapperConfig(architecture=settings["backbone"], num_labels=settings["classes"], id2label=names)
    model = TimmWrapperForImageClassification(config).eval()
    model.timm_model.load_state_dict(load_file(settings["model"]))
    model.to(getattr(torch, {"f32": "float32", "bf16": "bfloat16"}[settings["hint"]]))
    return model, {"precision": str(model.dtype)}


def _openvino(settings: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    from optimum.intel import OVModelForImageClassification

    hints = {
        "INFERENCE_PRECISION_HINT": settings["hint"],
        "INFERENCE_NUM_THREADS": settings["threads"],
        "PERFORMANCE_HINT": "LATENCY",
    }
    model = OVModelForImageClassification.from_pretrained(settings["model"], ov_config=hints)
    return model, {"precision": model.request.get_property("INFERENCE_PRECISION_HINT").to_string()}


def _onnx(settings: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    import onnxruntime
    from optimum.onnxruntime import ORTModelForImageClassification

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings["threads"]
    model = ORTModelForImageClassification.from_pretrained(
        settings["model"], provider="CPUExecutionProvider", session_options=options
    )
    return model, {"precision": "f32"}


_ENGINES: dict[str, Callable[[dict[str, Any]], tuple[Any, dict[str, Any]]]] = {
    "pytorch": _pytorch,
    "openvino": _openvino,
    "onnx": _onnx,
}
