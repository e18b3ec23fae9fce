"""What reads the bytes of strangers: image files, and a bundle's parts; each with small valid files to start from."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgeclf_benchmarks.records.odd_inputs import Repair, images, with_png_checksums, with_tar_checksums
from edgeclf_runtime.bundle.bundle import Bundle, pack
from edgeclf_runtime.bundle.dataclass_json import to_json
from edgeclf_runtime.bundle.external_data import count_weights, refuse_external_data
from edgeclf_runtime.bundle.manifest import parse_manifest
from edgeclf_runtime.images.decode import decode
from edgeclf_runtime.images.limits import Limits
from edgeclf_runtime.text.text_repair import RepairTables
from edgeclf_runtime.text.tokenizer import Tokenizer, TokenizerTables

MEGAPIXELS = 4.0  # the limit that the decoder is given; 12 bytes of each pixel may be held
_FILE_BYTES = 12 * int(MEGAPIXELS * 1e6)


@dataclass(frozen=True, slots=True)
class Reader:
    """A function of bytes, what it is fed, how checksums are set right, and how many bytes it may take meanwhile."""

    read: Callable[[bytes], object]
    corpus: tuple[bytes, ...]
    repair: Repair | None = None
    most_bytes: int = 64_000_000


def readers(bundle: Path | None) -> dict[str, Reader]:
    """The decoder, and with a bundle of the target onnx, preferably a small one, what reads bundles."""
    found = {"image": Reader(_decode, images(), with_png_checksums, 64_000_000 + _FILE_BYTES)}
    if bundle is None:
        return found
    opened = Bundle.open(bundle)
    onnx = opened.read("model.onnx")
    return {
        **found,
        "packed bundle": Reader(_open_tar, (_packed(opened),), with_tar_checksums),
        "tokenizer": Reader(_tokenize, (_tokenizer(),)),
        "manifest": Reader(lambda data: parse_manifest(data, "fuzzed"), (_unsealed(opened),)),
        "onnx": Reader(_scan_onnx, (onnx,)),
    }


def _decode(data: bytes) -> None:
    decode(data, limits=Limits(megapixels=MEGAPIXELS))


def _open_tar(data: bytes) -> None:
    """Through a file, as tars are read in place."""
    descriptor, name = tempfile.mkstemp(suffix=".tar")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        Bundle.open(name).check_all()
    finally:
        os.unlink(name)


def _scan_onnx(data: bytes) -> None:
    refuse_external_data(data, "fuzzed")
    count_weights(data, quantized_later=True)


def _tokenize(data: bytes) -> None:
    Tokenizer.parse(data, "fuzzed")(["A photo of a cat&amp;dog, caf\u00c3\u00a9 12"])


def _tokenizer() -> bytes:
    """The tables of a tokenizer of few words."""
    latin = "".join(map(chr, range(256)))
    expressions = ("\u00c3 ", "\u00c3", "x^")
    repair = RepairTables("[\u00c2\u00c3]", (("latin-1", latin),), *expressions, {"&amp;": "&"}, {"\u2019": "'"})
    letters, numbers, others = ((97, 122), (224, 255)), ((48, 57),), ((33, 47),)
    tables = TokenizerTables(("c a", "ca t</w>"), letters, numbers, others, 16, "lower", repair)
    return json.dumps(to_json(tables)).encode()


def _packed(bundle: Bundle) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return pack(bundle, Path(folder, "packed.tar")).read_bytes()


def _unsealed(bundle: Bundle) -> bytes:
    """The manifest without its own hash, which would refuse nearly everything before it is looked at."""
    content = json.loads(bundle.manifest_bytes)
    content.pop("manifest_sha256", None)
    return json.dumps(content).encode()
