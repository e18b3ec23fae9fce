"""By hand, as OpenVINO's own examples do it: OpenCV decodes and resizes, asynchronous requests of one image each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def open_peer(settings: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    import cv2
    import openvino

    resize_px, crop_px = settings["resize_px"], settings["crop_px"]
    core = openvino.Core()
    network = core.read_model(settings["model"])
    network.reshape([1, crop_px, crop_px, 3])
    hints = {
        "INFERENCE_PRECISION_HINT": settings["hint"],
        "PERFORMANCE_HINT": "THROUGHPUT",
        "INFERENCE_NUM_THREADS": settings["threads"],
    }
    compiled = core.compile_model(network, "CPU", hints)
    queue = openvino.AsyncInferQueue(compiled)

    def pixels(file: str) -> NDArray[np.uint8]:
        image = cv2.imread(file)
        height, width = image.shape[:2]
        side = min(height, width) * crop_px / resize_px
        top, left = round((height - side) / 2), round((width - side) / 2)
        crop = image[top : top + round(side), left : left + round(side)]
        small = cv2.resize(crop, (crop_px, crop_px), interpolation=cv2.INTER_LINEAR)
        return np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2RGB), np.uint8)

    def predict(files: Sequence[str]) -> list[int]:
        found = [0] * len(files)

        def done(request: openvino.InferRequest, place: int) -> None:
            found[place] = int(request.get_output_tensor(0).data.argmax())

        queue.set_callback(done)
        for place, file in enumerate(files):
            queue.start_async({0: pixels(file)[np.newaxis]}, place)
        queue.wait_all()
        return found

    return predict, {
        "precision": compiled.get_property("INFERENCE_PRECISION_HINT").to_string(),
        "requests": len(queue),
        "batch": 1,
    }
