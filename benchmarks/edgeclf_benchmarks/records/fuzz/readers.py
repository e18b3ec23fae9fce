"""What reads the bytes of strangers: images, a bundle's parts, summaries; each with small valid files to start from.

What lies above this package is read by readers in a file of their own: tests/support/readers_to_fuzz.py.
"""

from __future__ import annotations

import json
import os
import random
import runpy
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeclf_benchmarks.records.fuzz.odd_inputs import (
    Repair,
    damaged,
    damaged_json,
    images,
    with_png_checksums,
    with_tar_checksums,
)
from edgeclf_runtime.bundle.bundle import Bundle, pack
from edgeclf_runtime.bundle.dataclass_json import to_json
from edgeclf_runtime.bundle.external_data import count_weights, refuse_external_data
from edgeclf_runtime.bundle.manifest import parse_manifest
from edgeclf_runtime.images.decode import decode
from edgeclf_runtime.images.limits import Limits
from edgeclf_runtime.monitoring.summary import Histogram, Summary, parse_summary
from edgeclf_runtime.text.text_repair import RepairTables
from edgeclf_runtime.text.tokenizer import Tokenizer, TokenizerTables

MEGAPIXELS = 4.0  # the limit that the decoder is given; 12 bytes of each pixel may be held
_FILE_BYTES = 12 * int(MEGAPIXELS * 1e6)


@dataclass(frozen=True, slots=True)
class Reader:
    """A function of bytes, what it is fed, how checksums are set right, and how many bytes it may take meanwhile.

    `of_json`: what it is fed are JSON documents, most of which stay JSON when they are damaged.
    """

    read: Callable[[bytes], object]
    corpus: tuple[bytes, ...]
    repair: Repair | None = None
    most_bytes: int = 64_000_000
    of_json: bool = False

    def damaged(self, rng: random.Random) -> bytes:
        """One of what it is fed, with random faults."""
        return damaged_json(rng, self.corpus) if self.of_json else damaged(rng, self.corpus, self.repair)


def readers(bundle: Path | None, more: Sequence[Path] = ()) -> dict[str, Reader]:
    """The decoder; with a bundle of the target onnx, preferably a small one, what reads bundles; and those of `more`.

    Each file of `more` is Python, with a function `readers` that takes the bundle, or None, and returns some by name.
    """
    found = {
        "image": Reader(_decode, images(), with_png_checksums, 64_000_000 + _FILE_BYTES),
        "summary": Reader(lambda data: parse_summary(data, "fuzzed"), (summary_file(),), of_json=True),
    }
    for file in more:
        found |= runpy.run_path(str(file))["readers"](bundle)
    if bundle is None:
        return found
    opened = Bundle.open(bundle)
    onnx = opened.read("model.onnx")
    return {
        **found,
        "packed bundle": Reader(_open_tar, (_packed(opened),), with_tar_checksums),
        "tokenizer": Reader(_tokenize, (_tokenizer(),), of_json=True),
        "manifest": Reader(lambda data: parse_manifest(data, "fuzzed"), (_unsealed(opened),), of_json=True),
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


def summary_file() -> bytes:
    """A small summary of predictions."""
    summary = Summary(
        images=6,
        errors=1,
        unknown=1,
        answers={"cat": 4, "dog": 2},
        labels={"cat": 4, "dog": 3},
        without_label=1,
        histograms={"confidence": Histogram((0.5, 0.9), (1, 2, 3), 4.5), "detail": Histogram((), (6,), 60.0)},
        threshold=0.3,
        begun_utc="2026-11-01T00:00:00Z",
        ended_utc="2026-11-02T00:00:00Z",
    )
    return summary.to_bytes()


def _packed(bundle: Bundle) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return pack(bundle, Path(folder, "packed.tar")).read_bytes()


def _unsealed(bundle: Bundle) -> bytes:
    """The manifest without its own hash, which would refuse nearly everything before it is looked at."""
    content = json.loads(bundle.manifest_bytes)
    content.pop("manifest_sha256", None)
    return json.dumps(content).encode()
