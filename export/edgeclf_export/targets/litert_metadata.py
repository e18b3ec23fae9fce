"""Labels and a description in a .tflite, where Android's tools look for them: LiteRT's metadata, and a ZIP at its end.

The format is metadata_schema.fbs, version 1.1.0, of https://github.com/tensorflow/tflite-support. A table's fields are
written by their place in it, for no package for today's Pythons brings the schema.
Readers of the model pass over both: the metadata is a buffer that no operator uses, and the ZIP stands behind the end.
"""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeclf_export.targets.label_lines import LABELS, label_lines
from edgeclf_runtime.errors import BackendError

if TYPE_CHECKING:
    from edgeclf_export.exportable import AnyExportable, Contract
    from edgeclf_runtime.bundle.manifest import TensorSpec

_NAME, _IDENTIFIER, _PARSER = b"TFLITE_METADATA", b"M001", "1.0.0"
_FEATURE, _IMAGE = 1, 2  # of the union ContentProperties
_NORMALIZATION = 1  # of the union ProcessUnitOptions
_RGB = 1  # of ColorSpaceType
_AXIS_LABELS = 2  # of AssociatedFileType
_LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the same bundle, the same bytes


def with_metadata(model: bytes, exportable: AnyExportable, form: str) -> bytes:
    """The .tflite with its tensors named and described, and its labels in it, a line a class."""
    contract = exportable.contract(form, 1)
    described = _with_tensor_names(model, contract, _metadata(exportable.backbone, contract))
    if not contract.labels:
        return described
    archive = io.BytesIO(described)
    archive.seek(0, io.SEEK_END)
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr(zipfile.ZipInfo(LABELS, _LONG_AGO), label_lines(contract.labels).encode())
    return archive.getvalue()


def labels_of(model: bytes) -> tuple[str, ...]:
    """The labels at the end of a .tflite; none: there are none."""
    if not zipfile.is_zipfile(io.BytesIO(model)):
        return ()
    with zipfile.ZipFile(io.BytesIO(model)) as file:
        return tuple(file.read(LABELS).decode().splitlines()) if LABELS in file.namelist() else ()


def _with_tensor_names(model: bytes, contract: Contract, metadata: bytes) -> bytes:
    """The model with input and output called as in the manifest, and the metadata as one of its buffers."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    tree = schema.ModelT.InitFromPackedBuf(model, 0)
    for stored in tree.buffers:
        if stored.offset > 1:  # the quantizer keeps weights behind the flatbuffer, whose end moves here
            stored.data = np.frombuffer(model, np.uint8, stored.size, stored.offset)
            stored.offset = stored.size = 0
    (graph,) = tree.subgraphs
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise BackendError(f"wanted a .tflite with one input and one output, found {len(graph.inputs)} and others")
    for index, spec in ((graph.inputs[0], contract.inputs[0]), (graph.outputs[0], contract.outputs[0])):
        graph.tensors[index].name = spec.name.encode()
    for signature in tree.signatureDefs or []:
        signature.inputs[0].name = contract.inputs[0].name.encode()
        signature.outputs[0].name = contract.outputs[0].name.encode()
    entry, buffer = schema.MetadataT(), schema.BufferT()
    buffer.data = list(metadata)
    entry.name, entry.buffer = _NAME, len(tree.buffers)
    tree.buffers.append(buffer)
    tree.metadata = [*(tree.metadata or []), entry]
    tree.description = b"edgeclf"
    builder = flatbuffers.Builder(len(model) + len(metadata) + 4096)
    builder.Finish(tree.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _metadata(name: str, contract: Contract) -> bytes:
    """ModelMetadata: the name, one input and one output."""
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    entry = _input(builder, contract)
    exit_ = _output(builder, contract)
    inputs, outputs = _vector(builder, [entry]), _vector(builder, [exit_])
    graph = _table(builder, {2: inputs, 3: outputs}, fields=7)
    about = builder.CreateString(f"{name}, exported by edgeclf; manifest.json beside it has the whole pixel contract")
    strings = {0: builder.CreateString(name), 1: about, 7: builder.CreateString(_PARSER)}
    builder.Finish(_table(builder, {**strings, 3: _vector(builder, [graph])}, fields=8), _IDENTIFIER)
    return bytes(builder.Output())


def _input(builder: Any, contract: Contract) -> int:
    spec = contract.inputs[0]
    if contract.pixels is None:
        return _tensor(builder, spec, "tokens, as the bundle's tokenizer gives them", _FEATURE, {}, [])
    # mean 0 and std 1: what Android's tools would do to the pixels beforehand is done in the model
    normalization = contract.normalization
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    if normalization is not None and normalization.applied_by == "caller":
        mean, std = (tuple(255 * each for each in values) for values in (normalization.mean, normalization.std))
    options = _table(builder, {0: _floats(builder, mean), 1: _floats(builder, std)}, fields=2)
    unit = _union(builder, 0, _NORMALIZATION, options)
    about = "RGB pixels; normalisation is in the model" if mean == (0.0,) else "RGB, normalised by the caller"
    return _tensor(builder, spec, about, _IMAGE, {0: _RGB}, [(4, [unit])])


def _output(builder: Any, contract: Contract) -> int:
    files = []
    if contract.labels:
        name = builder.CreateString(LABELS)
        builder.StartObject(4)
        builder.PrependUOffsetTRelativeSlot(0, name, 0)
        builder.PrependInt8Slot(2, _AXIS_LABELS, 0)
        files = [builder.EndObject()]
    about = f"{contract.outputs[0].name} before {contract.scores}" if contract.labels else "an embedding"
    return _tensor(builder, contract.outputs[0], about, _FEATURE, {}, [(6, files)] if files else [])


def _tensor(
    builder: Any, spec: TensorSpec, about: str, kind: int, small: dict[int, int], lists: list[tuple[int, list[int]]]
) -> int:
    """TensorMetadata; `small` are one-byte fields of its content, `lists` its vectors of tables by their place."""
    builder.StartObject(2 if kind == _IMAGE else 0)
    for place, value in small.items():
        builder.PrependInt8Slot(place, value, 0)
    content = _union(builder, 0, kind, builder.EndObject(), fields=3)
    fields = {place: _vector(builder, tables) for place, tables in lists}
    fields |= {0: builder.CreateString(spec.name), 1: builder.CreateString(about), 3: content}
    return _table(builder, fields, fields=7)


def _table(builder: Any, offsets: dict[int, int], *, fields: int) -> int:
    builder.StartObject(fields)
    for place, offset in offsets.items():
        builder.PrependUOffsetTRelativeSlot(place, offset, 0)
    return int(builder.EndObject())


def _union(builder: Any, place: int, kind: int, value: int, *, fields: int = 2) -> int:
    """A table with a union at `place`: its type, and behind it its value."""
    builder.StartObject(fields)
    builder.PrependUint8Slot(place, kind, 0)
    builder.PrependUOffsetTRelativeSlot(place + 1, value, 0)
    return int(builder.EndObject())


def _vector(builder: Any, offsets: list[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())


def _floats(builder: Any, values: tuple[float, ...]) -> int:
    builder.StartVector(4, len(values), 4)
    for value in reversed(values):
        builder.PrependFloat32(value)
    return int(builder.EndVector())
