"""Files of other formats that are given to `export`: what each is, and what to do to have it as a bundle."""

from __future__ import annotations

from pathlib import Path

from edgeclf_runtime.bundle.atomic_write import MANIFEST
from edgeclf_runtime.errors import UsageError

_WEIGHTS = (
    "holds weights of PyTorch, without the network that they belong to; give --model NAME --weights {}, or write an "
    "ONNX file where the network is (torch.onnx.export)"
)
_TENSORRT = (
    "is an engine that TensorRT built for one GPU, and can't be read back; give the ONNX file or model that it was "
    "made from, with --target tensorrt"
)
_OPENVINO = (
    "is a network of OpenVINO, made for its engine alone; give the ONNX file or model that it was made from, with "
    "--target openvino"
)
_KERAS = "is a model of TensorFlow or Keras; turn it into ONNX first (python -m tf2onnx.convert), and give that file"
_FORMATS = {
    ".tflite": "is a model of TensorFlow Lite; turn it into ONNX first (python -m tf2onnx.convert --tflite {} --output "
    "model.onnx; best from its float original), and give that file",
    **dict.fromkeys((".pt", ".pth", ".ckpt", ".safetensors", ".torchscript", ".pth.tar"), _WEIGHTS),
    **dict.fromkeys((".engine", ".plan", ".trt"), _TENSORRT),
    ".xml": _OPENVINO,
    ".bin": "holds weights, of PyTorch or of OpenVINO; give --model NAME --weights {}, or the ONNX file that it was "
    "made from",
    **dict.fromkeys((".h5", ".hdf5", ".keras", ".pb"), _KERAS),
    **dict.fromkeys(
        (".mlmodel", ".mlpackage"), "is a model of Core ML; give the ONNX file or model that it was made from"
    ),
    ".ort": "is in ONNX Runtime's own format; give the .onnx file that it was made from",
    **dict.fromkeys(
        (".param", ".mnn", ".pdmodel", ".caffemodel", ".prototxt"),
        "is a network of another engine; give an ONNX file of it",
    ),
}


def refuse_other_formats(place: str) -> None:
    """Raises UsageError for a file, or folder, that is no run and no bundle but a model of another format."""
    path = Path(place)
    if path.is_dir() and (path / "saved_model.pb").is_file():
        raise UsageError(f"{place} {_KERAS}")
    found = next((about for ending, about in _FORMATS.items() if path.name.lower().endswith(ending)), None)
    if found is not None and (not path.is_dir() or path.name.lower().endswith(".mlpackage")):
        raise UsageError(f"{place} {found.format(place)}")
    if path.is_file():
        raise UsageError(
            f"{place} is a file of no known format; export takes a run, an onnx bundle or an ONNX file (its name ends "
            f"with .onnx; a bundle has a {MANIFEST})"
        )
