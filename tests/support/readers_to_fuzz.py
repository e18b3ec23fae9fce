"""What the fuzzer reads beside edgeclf_benchmarks.records.fuzz.readers: requests, and files that are given to verbs.

Not of that package, which may not know of `edgeclf`; the fuzzer is told this file: --readers.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent))

from made_reports import made_report

from edgeclf.data.split_file import load_split, save_split
from edgeclf.serving.inference_protocol import parse_request
from edgeclf_benchmarks.comparing.comparison import compare
from edgeclf_benchmarks.comparing.markdown import summary
from edgeclf_benchmarks.comparing.page.page import page
from edgeclf_benchmarks.measuring.report import report_document
from edgeclf_benchmarks.records.fuzz.readers import Reader, summary_file
from edgeclf_export.sources.labels import read_labels
from edgeclf_export.sources.several_labels import read_thresholds
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.manifest import Manifest
from edgeclf_runtime.images.data_split import DataSplit
from edgeclf_runtime.images.labelled import LabelledImage, Split
from edgeclf_runtime.monitoring import drift
from edgeclf_runtime.monitoring.summary import parse_summary

_MOST_IMAGES = 4
_LABELS = (
    b'["cat", "dog"]',
    b'{"0": "cat", "1": "dog"}',
    b'{"names": {"cat": 0, "dog": 1}}',
    b'[{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}]',
    b"cat\ndog\n",
    b"id,name\n0,cat\n1,dog\n",
    b"names:\n  0: cat\n  1: dog\n",
    b"{0: 'cat', 1: 'dog'}",
)


def readers(bundle: Path | None) -> dict[str, Reader]:
    """Reports are shown as `compare` shows them; with a bundle of pixels there are requests to serve it, too."""
    found = {
        "bench report": Reader(_compare, _reports(), of_json=True),
        "drift": Reader(_drift, (summary_file(),), of_json=True),
        "split file": Reader(partial(_in_file, load_split), (_split(),), of_json=True),
        "labels in JSON": Reader(partial(_in_file, read_labels), _LABELS[:4], of_json=True),
        "labels": Reader(partial(_in_file, read_labels), _LABELS),
        "thresholds": Reader(partial(_in_file, _thresholds), (b'{"cat": 0.4, "dog": 0.5}',), of_json=True),
    }
    if bundle is None:
        return found
    manifest = Bundle.open(bundle).manifest
    asked, binary = _requests(manifest)
    return {
        **found,
        "infer request": Reader(partial(_ask, manifest), (asked,), of_json=True),
        "binary infer request": Reader(partial(_ask_in_bytes, manifest), (binary,)),
    }


def _reports() -> tuple[bytes, ...]:
    rows = {"float": (5.0, 2), "int8": (2.0, 3)}
    plain = made_report(rows, images=12, pairs=2)
    full = made_report(rows, images=12, pairs=2, corrupted=True, yardsticks={"numpy": 1.0, "onnx": 2.0}, busy=0.1)
    return tuple(json.dumps(report_document(each)).encode() for each in (plain, full))


def _in_file(read: Callable[[Path], object], data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (path := Path(folder, "file")).write_bytes(data)
        read(path)


def _split() -> bytes:
    places: list[tuple[str, Split]] = [("cat", "train"), ("dog", "train"), ("cat", "val"), ("dog", "test")]
    images = [
        LabelledImage(Path(), f"{label}/{number}.png", (label,), f"{number:064x}", split=split)
        for number, (label, split) in enumerate(places)
    ]
    with tempfile.TemporaryDirectory() as folder:
        save_split(
            DataSplit(root=Path(folder), classes=("cat", "dog"), images=tuple(images)),
            path := Path(folder, "split.json"),
        )
        content = json.loads(path.read_bytes())
    return json.dumps({**content, "root": "."}).encode()


def _thresholds(path: Path) -> None:
    read_thresholds(str(path), ("cat", "dog"))


def _drift(data: bytes) -> None:
    drift.compare(parse_summary(summary_file(), "sound"), parse_summary(data, "fuzzed"))


def _compare(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "report.json")
        path.write_bytes(data)
        compared = compare([path])
        summary(compared)
        page(compared)


def _requests(manifest: Manifest) -> tuple[bytes, bytes]:
    """A request for one image as JSON; and in binary, behind the value of the header that tells where its JSON ends."""
    item = manifest.inputs[0]
    shape = [1, *item.shape[1:]]
    values = 1
    for size in shape:
        values *= int(size)
    tensor: dict[str, Any] = {"name": item.name, "datatype": "UINT8", "shape": shape}
    asked = json.dumps({"id": "a", "inputs": [{**tensor, "data": [7] * values}]}).encode()
    said = {**tensor, "parameters": {"binary_data_size": values}}
    outputs = [{"name": manifest.outputs[0].name, "parameters": {"binary_data": True}}]
    head = json.dumps({"inputs": [said], "outputs": outputs}).encode()
    return asked, str(len(head)).encode() + b"\n" + head + bytes(values)


def _ask(manifest: Manifest, data: bytes, header: str | None = None) -> None:
    parse_request(data, header, manifest, _MOST_IMAGES)


def _ask_in_bytes(manifest: Manifest, data: bytes) -> None:
    header, _, body = data.partition(b"\n")
    _ask(manifest, body, header.decode("latin-1"))
