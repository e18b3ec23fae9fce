"""OpenVINO's Model API (PyPI openvino-model-api): its classification wrapper, asynchronous, images read by OpenCV."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def open_peer(settings: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    import cv2
    from model_api.adapters import OpenvinoAdapter, create_core
    from model_api.models import ClassificationModel

    hints = {
        "INFERENCE_PRECISION_HINT": settings["hint"],
        "INFERENCE_NUM_THREADS": settings["threads"],
        "NUM_STREAMS": settings["threads"],
    }
    adapter = OpenvinoAdapter(create_core(), settings["model"], device="CPU", plugin_config=hints)
    (name,) = adapter.get_input_layers()
    adapter.reshape_model({name: [1, settings["crop_px"], settings["crop_px"], 3]})
    model = ClassificationModel(adapter, {"reverse_input_channels": True, "resize_type": "crop"}, preload=True)
    found: dict[int, int] = {}

    def keep(result: Any, place: int) -> None:
        found[place] = result.top_labels[0].id

    model.set_callback(keep)

    def predict(files: Sequence[str]) -> list[int]:
        for place, file in enumerate(files):
            model.await_any()
            model.infer_async(cv2.imread(file), place)
        model.await_all()
        return [found[place] for place in range(len(files))]

    precision = adapter.compiled_model.get_property("INFERENCE_PRECISION_HINT").to_string()
    return predict, {"precision": precision, "requests": len(adapter.async_queue), "batch": 1}
