"""What the fuzzer reads beside edgeclf_benchmarks.records.fuzz_readers: requests, and reports that are compared.

Not of that package, which may not know of `edgeclf`; the fuzzer is told this file: --readers.
"""

from __future__ import annotations

import json
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent))

from made_reports import made_report

from edgeclf.serving.inference_protocol import parse_request
from edgeclf_benchmarks.comparing.comparison import compare
from edgeclf_benchmarks.comparing.markdown import summary
from edgeclf_benchmarks.comparing.page.page import page
from edgeclf_benchmarks.measuring.report import report_document
from edgeclf_benchmarks.records.fuzz_readers import Reader
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.manifest import Manifest

_MOST_IMAGES = 4


def readers(bundle: Path | None) -> dict[str, Reader]:
    """A report is shown as `compare` shows it; with a bundle of pixels, requests to serve it, too."""
    found = {"bench report": Reader(_compare, _reports(), of_json=True)}
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
