"""Ultralytics' runner on an exported OpenVINO model: `YOLO(folder).predict(files)`. AGPL: it is run, nothing more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def open_peer(settings: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    import openvino
    from ultralytics import YOLO

    compiled: list[Any] = []
    compile_model = openvino.Core.compile_model

    def with_precision(self: Any, model: Any, device_name: str | None = None, config: Any = None) -> Any:
        """As OpenVINO's own; the runner has no option for precision and threads."""
        asked = {"INFERENCE_PRECISION_HINT": settings["hint"], "INFERENCE_NUM_THREADS": settings["threads"]}
        compiled.append(compile_model(self, model, "CPU", {**(config or {}), **asked}))
        return compiled[-1]

    openvino.Core.compile_model = with_precision
    model = YOLO(settings["model"], task="classify")

    def predict(files: Sequence[str]) -> list[int]:
        options = {"imgsz": settings["crop_px"], "batch": settings["batch"], "device": "cpu", "verbose": False}
        return [each.probs.top1 for each in model.predict(list(files), stream=True, **options)]

    predict([str(settings["image"])])  # it loads the model at the first call
    precision = compiled[-1].get_property("INFERENCE_PRECISION_HINT").to_string()
    return predict, {"precision": precision, "batch": settings["batch"]}
