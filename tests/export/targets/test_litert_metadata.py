"""Labels and a description in the .tflite itself: found by Android's tools, passed over by the engine."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny
import tiny_litert

from edgeclf_export.exportable import Contract
from edgeclf_export.targets.litert_metadata import labels_of, with_metadata
from edgeclf_runtime.backends.litert import open_interpreter
from edgeclf_runtime.bundle.manifest import Normalization, TensorSpec
from edgeclf_runtime.images.pixels import Pixels

pytest.importorskip("ai_edge_litert")
CONTRACT = Contract(
    task="classify",
    inputs=(TensorSpec("images", "uint8", "NHWC", (1, tiny.SIDE, tiny.SIDE, 3)),),
    outputs=(TensorSpec("scores", "float32", "NC", (1, len(tiny.LABELS))),),
    labels=("leaf", "café\nau lait", "sky"),
    pixels=Pixels("shorter", (tiny.SIDE,) * 2, (tiny.SIDE,) * 2),
    normalization=Normalization((0.5, 0.4, 0.3), (0.2, 0.2, 0.2)),
)
MODEL = tiny_litert.linear(*tiny.linear_weights(0))


def described(contract: Contract = CONTRACT) -> bytes:
    exportable: Any = SimpleNamespace(backbone="linear", contract=lambda form, batch: contract)
    return with_metadata(MODEL, exportable, "uint8-nhwc")


def metadata_of(model: bytes) -> bytes:
    from ai_edge_litert import schema_py_generated as schema

    tree = schema.ModelT.InitFromPackedBuf(model, 0)
    (entry,) = (entry for entry in tree.metadata if entry.name == b"TFLITE_METADATA")
    return bytes(bytearray(tree.buffers[entry.buffer].data))


def string_at(data: bytes, *path: int) -> str:
    """What stands at the end of a path of table fields; a vector's first element is taken on the way."""
    import flatbuffers

    table = flatbuffers.table.Table(data, int.from_bytes(data[:4], "little"))
    for place in path[:-1]:
        offset = table.Offset(4 + 2 * place)
        table = flatbuffers.table.Table(data, table.Indirect(table.Vector(offset)))
    return bytes(table.String(table.Offset(4 + 2 * path[-1]) + table.Pos)).decode()


def test_the_logits_are_those_of_the_model_without_it() -> None:
    pixels, outputs = tiny.random_pixels(1), []
    for model in (MODEL, described()):
        interpreter = open_interpreter(model, "model")
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], pixels)
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    assert np.array_equal(*outputs)


def test_labels_stand_behind_the_model_a_line_a_class() -> None:
    assert labels_of(described()) == ("leaf", "café au lait", "sky")
    assert labels_of(MODEL) == () == labels_of(described(replace(CONTRACT, labels=())))


def test_input_and_output_are_called_as_in_the_manifest() -> None:
    interpreter = open_interpreter(described(), "model")
    assert interpreter.get_input_details()[0]["name"] == "images"
    assert interpreter.get_output_details()[0]["name"] == "scores"


def test_fields_stand_where_the_published_schema_has_them() -> None:
    data = metadata_of(described())
    graphs, inputs, outputs, files = 3, 2, 3, 6
    assert data[4:8] == b"M001"
    assert string_at(data, 0) == "linear"
    assert string_at(data, graphs, inputs, 0) == "images"
    assert string_at(data, graphs, outputs, 0) == "scores"
    assert string_at(data, graphs, outputs, files, 0) == "labels.txt"


def test_the_same_model_gives_the_same_bytes() -> None:
    assert described() == described()
