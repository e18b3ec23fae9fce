"""The input of an ONNX file: its layout and type, or in a sentence what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgeclf_export.sources.onnx_file.reading import own_name, parse_foreign
from edgeclf_runtime.errors import DataError
from edgeclf_runtime.images.pixels import Pixels

_TAKEN = ("float", "float16", "double", "uint8")


@dataclass(frozen=True, slots=True)
class NetworkInput:
    """`kind` is "float", "float16", "double" or "uint8"; `batch` the number that it is fixed to, or None."""

    name: str
    layout: Literal["NCHW", "NHWC"]
    kind: str
    batch: int | None


def takes_uint8(path: Path) -> bool:
    """Whether an ONNX file takes uint8 pixels, and so normalises them itself. Raises DataError as `parse_foreign`."""
    return any(type_name(value) == "uint8" for value in parse_foreign(path).graph.input)


def find_input(model: Any, pixels: Pixels, path: Path) -> NetworkInput:
    """The one input, for RGB images of this size. Raises DataError."""
    initialized = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in initialized]
    if len(inputs) != 1:
        found = ", ".join(f"{own_name(value.name)} {describe(value)}" for value in inputs)
        advice = "; export it again with the image as its only input, all else constant" if inputs else ""
        raise DataError(f"{path}: wanted one input, found {found or 'none'}{advice}")
    entry, shape = inputs[0], shape_of(inputs[0])
    layout, kind = _layout(shape, pixels), type_name(entry)
    if layout is None or kind not in _TAKEN:
        height, width = pixels.crop_px
        wanted = f"float (N, 3, {height}, {width}) or (N, {height}, {width}, 3)"
        raise DataError(f"{path}: wanted {wanted}, found {describe(entry)}; {_advice(shape, kind, layout)}")
    return NetworkInput(entry.name, layout, kind, shape[0])


def describe(value: Any) -> str:
    """ "float16 (?, 5)" for a graph's input or output; "sequence", "map" where it is no tensor."""
    if not value.type.HasField("tensor_type"):
        return str(value.type.WhichOneof("value") or "untyped").removesuffix("_type")
    if not value.type.tensor_type.HasField("shape"):
        return f"{type_name(value)} of unknown shape"
    return f"{type_name(value)} ({', '.join(str(size or '?') for size in shape_of(value))})"


def type_name(value: Any) -> str:
    """ONNX's name of a tensor's type, "float" for 32 bits."""
    import onnx

    return str(onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type).lower())


def shape_of(value: Any) -> tuple[int | None, ...]:
    """Dimensions of a graph input; None for one that varies (some exporters write 0 or -1 for it)."""
    sizes = [d.dim_value if d.HasField("dim_value") else 0 for d in value.type.tensor_type.shape.dim]
    return tuple(size if size > 0 else None for size in sizes)


def _layout(shape: tuple[int | None, ...], pixels: Pixels) -> Literal["NCHW", "NHWC"] | None:
    """Where the three channels are; None where the input is no batch of RGB images of this size."""
    height, width = pixels.crop_px
    if len(shape) != 4:
        return None
    if all(found in (size, None) for found, size in zip(shape[1:], (3, height, width), strict=True)):
        return "NCHW"
    if all(found in (size, None) for found, size in zip(shape[1:], (height, width, 3), strict=True)):
        return "NHWC"
    return None


def _advice(shape: tuple[int | None, ...], kind: str, layout: str | None) -> str:
    if len(shape) != 4:
        return f"an input of {len(shape)} dimensions is no batch of images"
    if layout is not None:
        return f"images of {kind} are not supported; export it again with an input of float or uint8"
    channels, sides = _channels_and_sides(shape)
    if channels is None:
        return f"it takes {_count_channels(shape)}, images have 3 (RGB); export it again with 3"
    if sides[0] == sides[1]:
        return f"give its side with --img-size {sides[0]}"
    return f"its images are {sides[1]}x{sides[0]}, only square ones are supported; export it again with a square input"


def _channels_and_sides(shape: tuple[int | None, ...]) -> tuple[int | None, tuple[int | None, ...]]:
    """3 and (height, width) where one of both places has three channels."""
    if shape[1] in (3, None):
        return 3, shape[2:]
    return (3, shape[1:3]) if shape[3] in (3, None) else (None, ())


def _count_channels(shape: tuple[int | None, ...]) -> str:
    found = min(size for size in (shape[1], shape[3]) if size is not None)
    return "one channel (grey)" if found == 1 else f"{found} channels"
