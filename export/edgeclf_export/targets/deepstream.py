"""An onnx bundle of normalised floats as a classifier for DeepStream's nvinfer: the graph, labels, a config.

Never run in DeepStream by the authors. The keys are those of
https://docs.nvidia.com/metropolis/deepstream/dev-guide/text/DS_plugin_gst-nvinfer.html
"""

from __future__ import annotations

from pathlib import Path

from edgeclf_export.targets.label_lines import LABELS, one_line
from edgeclf_runtime.backends.ort import BACKEND, MODEL
from edgeclf_runtime.bundle.atomic_write import MANIFEST, writing
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.manifest import Normalization
from edgeclf_runtime.errors import UsageError

CONFIG = "config_infer.txt"
_NEEDED = f"export -t {BACKEND.name} --input float-nchw --layout deepstream"


def check_deepstream(target: str, form: str = "float-nchw") -> None:
    """Raises UsageError for what nvinfer can't feed: it takes ONNX, and gives normalised floats."""
    if target != BACKEND.name or form != "float-nchw":
        raise UsageError(f"DeepStream's nvinfer takes an ONNX graph of normalised floats; {_NEEDED}")


def write_classifier(bundle: Bundle, folder: Path, max_batch: int, *, force: bool = False) -> Path:
    """Writes `folder`/NAME, whole or not at all, and returns it.

    Raises UsageError as `check_deepstream`, for an encoder, several labels an image, int8, a standard deviation of its
    own for each channel, and where NAME exists.
    """
    manifest, place = bundle.manifest, folder / bundle.name
    check_deepstream(manifest.target, "float-nchw" if manifest.inputs[0].layout == "NCHW" else "uint8-nhwc")
    normalization = manifest.normalization
    if normalization is None or not manifest.labels:
        raise UsageError(f"nvinfer's config is for classifiers of images; {bundle.name} is another")
    if manifest.multi_label:
        raise UsageError(
            f"nvinfer's classifier names one label an image, and {bundle.name} predicts several; leave out --layout, "
            "and read its logits with a program of your own (its thresholds are in manifest.json)"
        )
    if manifest.weights_precision == "int8":
        raise UsageError("nvinfer builds with TensorRT, which misreads the int8 of onnx bundles; export fp32")
    text = config(bundle, normalization, max_batch)
    with writing(place, force=force) as draft:
        draft.mkdir()
        (draft / MODEL).write_bytes(bundle.read(MODEL))
        (draft / MANIFEST).write_bytes(bundle.manifest_bytes)
        labels = (one_line(label).replace(";", ",") for label in manifest.labels)
        (draft / LABELS).write_text(";".join(labels) + "\n", encoding="utf-8")
        (draft / CONFIG).write_text(text, encoding="utf-8")
    return place


def config(bundle: Bundle, normalization: Normalization, max_batch: int) -> str:
    """The text of the config: y = net-scale-factor * (x - offset), with x of 0 to 255."""
    if len(set(normalization.std)) > 1:
        raise UsageError(
            f"nvinfer has one net-scale-factor for all channels, and this model's standard deviations differ "
            f"({', '.join(f'{each:g}' for each in normalization.std)}); export uint8 pixels for tensorrt instead"
        )
    offsets = ";".join(f"{255 * each:.9g}" for each in normalization.mean)
    height, width = bundle.manifest.inputs[0].shape[2:]
    batch = bundle.manifest.inputs[0].fixed_batch or max_batch
    colours = 0 if normalization.channels == "rgb" else 1
    return f"""\
# {_plain(bundle.name)}, written by edgeclf; SHA-256 of its manifest: {bundle.digest}
# NEVER RUN in DeepStream by edgeclf's authors.
# nvinfer resizes whole frames to {width}x{height}; {MANIFEST} says how the model's images were resized and cropped.
# The network gives logits, which nvinfer compares with classifier-threshold as they are: no label for those below it.
[property]
gpu-id=0
gie-unique-id=1
process-mode=1
network-type=1
network-mode=0
onnx-file={MODEL}
labelfile-path={LABELS}
batch-size={batch}
infer-dims=3;{height};{width}
model-color-format={colours}
net-scale-factor={1 / (255 * normalization.std[0]):.9g}
offsets={offsets}
output-blob-names={bundle.manifest.outputs[0].name}
classifier-threshold=0
"""


def _plain(name: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in name)
