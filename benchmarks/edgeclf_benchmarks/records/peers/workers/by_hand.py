"""By hand, for many images: threads that each decode a batch and run it, with ONNX Runtime or OpenVINO.

Pixels "exact": simplejpeg decodes (as Pillow does, bit for bit), Pillow resizes, as in training. "fast": simplejpeg
decodes with its fast flags, large images at a part of their size that is at least twice the one wanted, and
cykooz-resizer resizes by SIMD.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = Callable[[str], NDArray[np.uint8]]
Infer = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def open_peer(settings: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    pixels: Pixels = (_exact if settings["pixels"] == "exact" else _fast)(settings["resize_px"], settings["crop_px"])
    threads, batch = settings["threads"], settings["batch"]
    workers = ThreadPoolExecutor(threads)
    if settings["part"] == "pixels":
        return lambda files: list(workers.map(pixels, files)) and [], {}
    new_infer, facts = (_openvino if settings["target"] == "openvino" else _onnx)(settings)
    own = threading.local()

    def of_batch(files: Sequence[str]) -> list[int]:
        if not hasattr(own, "infer"):
            own.infer = new_infer()
            own.input = np.zeros((batch, settings["crop_px"], settings["crop_px"], 3), np.uint8)
        for place, file in enumerate(files):  # a batch of fewer images keeps some of the one before
            own.input[place] = pixels(file)
        found: list[int] = own.infer(own.input)[: len(files)].argmax(1).tolist()
        return found

    def predict(files: Sequence[str]) -> list[int]:
        batches = [files[at : at + batch] for at in range(0, len(files), batch)]
        return [each for found in workers.map(of_batch, batches) for each in found]

    return predict, {**facts, "batch": batch}


def _openvino(settings: dict[str, Any]) -> tuple[Callable[[], Infer], dict[str, Any]]:
    import openvino

    core = openvino.Core()
    network = core.read_model(settings["model"])
    network.reshape([settings["batch"], settings["crop_px"], settings["crop_px"], 3])
    hints = {
        "INFERENCE_PRECISION_HINT": settings["hint"],
        "PERFORMANCE_HINT": "THROUGHPUT",
        "INFERENCE_NUM_THREADS": settings["threads"],
        "NUM_STREAMS": settings["threads"],
    }
    compiled = core.compile_model(network, "CPU", hints)
    _ = openvino.Tensor(np.zeros(1, np.uint8)).data  # else two threads' first inferences may wait for each other

    def new_infer() -> Infer:
        request = compiled.create_infer_request()
        return lambda images: request.infer({0: images}, share_inputs=True, share_outputs=True)[0]

    return new_infer, {"precision": compiled.get_property("INFERENCE_PRECISION_HINT").to_string()}


def _onnx(settings: dict[str, Any]) -> tuple[Callable[[], Infer], dict[str, Any]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # each thread runs a batch of its own
    session = onnxruntime.InferenceSession(settings["model"], options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda: lambda images: session.run(None, {name: images})[0], {"precision": "f32"}


def _exact(resize_px: int, crop_px: int) -> Pixels:
    import simplejpeg

    def pixels(file: str) -> NDArray[np.uint8]:
        image = Image.fromarray(simplejpeg.decode_jpeg(Path(file).read_bytes()))
        scale = resize_px / min(image.size)
        width, height = max(resize_px, int(image.width * scale)), max(resize_px, int(image.height * scale))
        image = image.resize((width, height), Image.Resampling.BICUBIC)
        left, top = round((width - crop_px) / 2), round((height - crop_px) / 2)
        return np.asarray(image.crop((left, top, left + crop_px, top + crop_px)))

    return pixels


def _fast(resize_px: int, crop_px: int) -> Pixels:
    import cykooz_resizer
    import simplejpeg

    own = threading.local()

    def pixels(file: str) -> NDArray[np.uint8]:
        least = {"min_height": 2 * resize_px, "min_width": 2 * resize_px}
        decoded = simplejpeg.decode_jpeg(Path(file).read_bytes(), fastdct=True, fastupsample=True, **least)
        image = Image.fromarray(decoded)
        if not hasattr(own, "resizer"):
            own.resizer = cykooz_resizer.Resizer()
        side = min(image.size) * crop_px / resize_px  # of the centre crop
        box = cykooz_resizer.CropBox((image.width - side) / 2, (image.height - side) / 2, side, side)
        bicubic = cykooz_resizer.ResizeAlg.convolution(cykooz_resizer.FilterType.catmull_rom)
        resized = Image.new("RGB", (crop_px, crop_px))
        options = cykooz_resizer.ResizeOptions(resize_alg=bicubic, crop_box=box, use_alpha=False)
        own.resizer.resize_pil(image, resized, options)
        return np.asarray(resized)

    return pixels
